{{ config(enabled=var('wootric_property') is not none) }}

with responses as (
    select
        {{ wootric.month_of('created_at') }} as month,
        coalesce(
            {{ wootric.json_text('properties_at_survey', var('wootric_property') or '') }},
            {{ wootric.json_text('properties', var('wootric_property') or '') }}
        ) as property_value,
        nps_category
    from {{ ref('stg_wootric__responses') }}
    where nps_category is not null
)

select
    month,
    property_value,
    {{ wootric.nps_measures() }}
from responses
group by month, property_value
order by month, property_value
