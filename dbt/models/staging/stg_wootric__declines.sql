{{ config(enabled='declines' in var('wootric_streams')) }}

{% set types = wootric.columns_of('declines') %}

select
    {{ wootric.column(types, 'id', 'bigint') }} as decline_id,
    {{ wootric.column(types, 'end_user_id', 'bigint') }} as end_user_id,
    {{ wootric.column(types, 'survey_id', 'bigint') }} as survey_id,
    {{ wootric.column(types, 'created_at', 'timestamp') }} as created_at,
    {{ wootric.column(types, 'updated_at', 'timestamp') }} as updated_at
from ({{ wootric.newest_rows('declines', types) }}) as declines
