{{ config(enabled='end_users' in var('wootric_streams')) }}

{% set types = wootric.columns_of('end_users') %}

select
    {{ wootric.column(types, 'id', 'bigint') }} as end_user_id,
    {{ wootric.column(types, 'email', 'text') }} as email,
    {{ wootric.column(types, 'phone_number', 'text') }} as phone_number,
    {{ wootric.column(types, 'external_id', 'text') }} as external_id,
    {{ wootric.column(types, 'properties', wootric.json_type()) }} as properties,
    {{ wootric.column(types, 'last_surveyed', 'timestamp') }} as last_surveyed_at,
    {{ wootric.column(types, 'created_at', 'timestamp') }} as created_at,
    {{ wootric.column(types, 'updated_at', 'timestamp') }} as updated_at
from ({{ wootric.newest_rows('end_users', types) }}) as end_users
