-- NPS by month, as Wootric counts it
-- This needs the `nps_summary` stream, which applies Wootric's own rules and the account's time zone. A month's NPS
-- comes from the sums of its days, not from the average of their NPS.

SELECT
    date_trunc('month', date)::date AS month,
    round(100.0 * (sum(promoters) - sum(detractors)) / nullif(sum(responses), 0), 1) AS nps,
    sum(responses) AS responses
FROM tap_wootric.nps_summary
WHERE _sdc_deleted_at IS NULL
GROUP BY month
ORDER BY month;
