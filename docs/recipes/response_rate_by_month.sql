-- Response rate by month
-- The percentage of surveys that were answered, among those that were answered or declined. The API does not list
-- surveys that were ignored, so this differs from the `response_rate` of `nps_summary`.

SELECT
    date_trunc('month', created_at)::date AS month,
    round(100.0 * count(*) FILTER (WHERE was_answered) / count(*), 1) AS response_rate,
    count(*) AS surveys
FROM (
    SELECT created_at, true AS was_answered FROM tap_wootric.responses WHERE _sdc_deleted_at IS NULL
    UNION ALL
    SELECT created_at, false FROM tap_wootric.declines WHERE _sdc_deleted_at IS NULL
) AS surveys
GROUP BY month
ORDER BY month;
