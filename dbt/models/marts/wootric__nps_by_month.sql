select
    {{ wootric.month_of('created_at') }} as month,
    {{ wootric.nps_measures() }}
from {{ ref('stg_wootric__responses') }}
where nps_category is not null
group by 1
order by 1
