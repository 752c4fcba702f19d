-- NPS by segment
-- This groups by the end user's current `Department`. The `segments` stream lists the names of all properties. For the
-- value at the time of the survey, use `responses.end_user -> 'properties' ->> 'Department'` and drop the join.

SELECT
    end_users.properties ->> 'Department' AS department,
    round(100.0 * (count(*) FILTER (WHERE score >= 9) - count(*) FILTER (WHERE score <= 6)) / count(*), 1) AS nps,
    count(*) AS responses
FROM tap_wootric.responses
LEFT JOIN tap_wootric.end_users ON end_users.id = responses.end_user_id
WHERE responses._sdc_deleted_at IS NULL
    AND excluded_from_calculations IS NOT TRUE
    AND coalesce(metric, survey ->> 'metric', 'NPS') = 'NPS'
    AND score IS NOT NULL
GROUP BY department
ORDER BY responses DESC, department;
