-- No response gets lost between the staging model and the mart.
with counted as (
    select coalesce(sum(responses), 0) as total from {{ ref('wootric__nps_by_month') }}
),

expected as (
    select count(*) as total from {{ ref('stg_wootric__responses') }} where nps_category is not null
)

select counted.total, expected.total as expected_total
from counted
inner join expected on counted.total <> expected.total
