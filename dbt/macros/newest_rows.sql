{% macro newest_rows(stream, types) %}
    {#- Select the newest row of each id, unless it is marked as deleted. A target that appends keeps older ones as well.
        A late note does not move updated_at, so the time of extraction comes first. -#}
    {% set order = [] %}
    {% for name in ['_sdc_extracted_at', '_sdc_sequence', 'updated_at'] if name in types %}
        {% do order.append(name ~ ' desc nulls last') %}
    {% endfor %}
    select *
    from (
        select
            *,
            row_number() over (partition by id order by {{ order | join(', ') or 'id' }}) as copy_number
        from {{ source('wootric', stream) }}
    ) as copies
    where copy_number = 1
    {% if '_sdc_deleted_at' in types %}
        and _sdc_deleted_at is null
    {% endif %}
{% endmacro %}
