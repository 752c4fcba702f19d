{{ config(enabled='declines' in var('wootric_streams')) }}

with surveys as (
    select {{ wootric.month_of('created_at') }} as month, true as was_answered from {{ ref('stg_wootric__responses') }}
    union all
    select {{ wootric.month_of('created_at') }}, false from {{ ref('stg_wootric__declines') }}
)

select
    month,
    count(*) filter (where was_answered) as responses,
    count(*) filter (where not was_answered) as declines,
    {{ wootric.percentage('count(*) filter (where was_answered)') }} as response_rate
from surveys
group by month
order by month
