select
    response_id,
    created_at,
    score,
    comment,
    tags,
    notes,
    end_user_id,
    email,
    phone_number,
    external_id
from {{ ref('stg_wootric__responses') }}
where nps_category = 'detractor'
    and completed is not true
