-- NPS by month
-- Months are in UTC. For months in the account's own time zone, replace `created_at` with
-- `created_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/Los_Angeles'`. CSAT and CES scores are left out where the API
-- names the metric. Older accounts do not name it: if yours runs such surveys, filter by `survey_id` as well.

SELECT
    date_trunc('month', created_at)::date AS month,
    round(100.0 * (count(*) FILTER (WHERE score >= 9) - count(*) FILTER (WHERE score <= 6)) / count(*), 1) AS nps,
    count(*) AS responses
FROM tap_wootric.responses
WHERE _sdc_deleted_at IS NULL
    AND excluded_from_calculations IS NOT TRUE
    AND coalesce(metric, survey ->> 'metric', 'NPS') = 'NPS'
    AND score IS NOT NULL
GROUP BY month
ORDER BY month;
