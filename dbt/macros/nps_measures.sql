{% macro nps_measures() %}
    count(*) filter (where nps_category = 'promoter') as promoters,
    count(*) filter (where nps_category = 'passive') as passives,
    count(*) filter (where nps_category = 'detractor') as detractors,
    count(*) as responses,
    {{ wootric.percentage(
        "(count(*) filter (where nps_category = 'promoter') - count(*) filter (where nps_category = 'detractor'))"
    ) }} as nps
{% endmacro %}


{% macro percentage(part) -%}
    {#- Return a count as a percentage of a group's rows, to one decimal place. -#}
    cast(round(100.0 * {{ part }} / count(*), 1) as decimal(4, 1))
{%- endmacro %}
