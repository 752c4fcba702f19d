-- Responses with their end users
-- A response outlives its end user: its `end_user` column keeps what was known at the time of the survey, unless you
-- [remove personal data](personal-data.md).

SELECT
    responses.id,
    responses.created_at,
    responses.score,
    responses.text,
    coalesce(end_users.email, responses.end_user ->> 'email') AS email,
    coalesce(end_users.external_id, responses.end_user ->> 'external_id') AS external_id,
    end_users._sdc_deleted_at AS end_user_deleted_at
FROM tap_wootric.responses
LEFT JOIN tap_wootric.end_users ON end_users.id = responses.end_user_id
WHERE responses._sdc_deleted_at IS NULL
ORDER BY responses.created_at DESC;
