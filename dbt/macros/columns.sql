{% macro columns_of(stream) %}
    {#- Return the types of a table's columns, by name. Stream maps and selections leave columns out, and so does a target
        that adds no metadata. -#}
    {% set types = {} %}
    {% for column in adapter.get_columns_in_relation(source('wootric', stream)) %}
        {% do types.update({column.name | lower: column.data_type | lower}) %}
    {% endfor %}
    {{ return(types) }}
{% endmacro %}


{% macro column(types, name, type) -%}
    {#- Return a column in a type, or null if the table lacks it. -#}
    {%- if name not in types -%}
        cast(null as {{ type }})
    {%- elif type == 'timestamp' and types[name] in ['timestamp with time zone', 'timestamptz'] -%}
        {{ name }} at time zone 'UTC'
    {%- else -%}
        cast({{ name }} as {{ type }})
    {%- endif -%}
{%- endmacro %}


{% macro json_type() -%}
    {{ 'jsonb' if target.type == 'postgres' else 'json' }}
{%- endmacro %}


{% macro json_text(column, name) -%}
    ({{ column }} ->> '{{ name | replace("'", "''") }}')
{%- endmacro %}


{% macro month_of(column) -%}
    {#- Return the first day of a month in the account's time zone. -#}
    cast(date_trunc('month', {{ column }} at time zone 'UTC' at time zone '{{ var("wootric_time_zone") }}') as date)
{%- endmacro %}
