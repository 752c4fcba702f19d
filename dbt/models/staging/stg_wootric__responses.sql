{% set types = wootric.columns_of('responses') %}
{% set survey_ids = var('wootric_nps_survey_ids') %}
{% set has_end_users = 'end_users' in var('wootric_streams') %}

with responses as (
    select
        {{ wootric.column(types, 'id', 'bigint') }} as response_id,
        {{ wootric.column(types, 'end_user_id', 'bigint') }} as end_user_id,
        {{ wootric.column(types, 'survey_id', 'bigint') }} as survey_id,
        {{ wootric.column(types, 'score', 'integer') }} as score,
        {{ wootric.column(types, 'text', 'text') }} as comment,
        {{ wootric.column(types, 'completed', 'boolean') }} as completed,
        {{ wootric.column(types, 'excluded_from_calculations', 'boolean') }} as excluded_from_calculations,
        {{ wootric.column(types, 'origin_url', 'text') }} as origin_url,
        {{ 'tags' if 'tags' in types else 'cast(null as text)' }} as tags,
        {{ 'notes' if 'notes' in types else 'cast(null as text)' }} as notes,
        {{ wootric.column(types, 'end_user', wootric.json_type()) }} as end_user,
        {{ wootric.column(types, 'created_at', 'timestamp') }} as created_at,
        {{ wootric.column(types, 'updated_at', 'timestamp') }} as updated_at
    from ({{ wootric.newest_rows('responses', types) }}) as newest
),

categorized as (
    select
        *,
        case
            when excluded_from_calculations or score not between 0 and 10 then null
            {% if survey_ids %}
            when survey_id is null or survey_id not in ({{ survey_ids | join(', ') }}) then null
            {% endif %}
            when score >= 9 then 'promoter'
            when score >= 7 then 'passive'
            when score >= 0 then 'detractor'
        end as nps_category
    from responses
)

select
    categorized.response_id,
    categorized.end_user_id,
    categorized.survey_id,
    categorized.score,
    categorized.nps_category,
    categorized.comment,
    categorized.tags,
    categorized.notes,
    categorized.completed,
    categorized.excluded_from_calculations,
    categorized.origin_url,
    {% for name in ['email', 'external_id'] %}
    coalesce(
        {% if has_end_users %}end_users.{{ name }},{% endif %}
        {{ wootric.json_text('categorized.end_user', name) }}
    ) as {{ name }},
    {% endfor %}
    {{ 'end_users.phone_number' if has_end_users else 'cast(null as text)' }} as phone_number,
    {{ 'end_users.properties' if has_end_users else 'cast(null as ' ~ wootric.json_type() ~ ')' }} as properties,
    categorized.end_user -> 'properties' as properties_at_survey,
    categorized.created_at,
    categorized.updated_at
from categorized
{% if has_end_users %}
left join {{ ref('stg_wootric__end_users') }} as end_users on end_users.end_user_id = categorized.end_user_id
{% endif %}
