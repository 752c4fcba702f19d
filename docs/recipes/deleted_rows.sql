-- Rows deleted in Wootric
-- These are the rows that a [full-table sync](operations.md#deleted-rows) found to be gone. With `hard_delete`, the
-- target deletes them instead of marking them.

SELECT 'responses' AS stream, id, _sdc_deleted_at AS found_at FROM tap_wootric.responses WHERE _sdc_deleted_at IS NOT NULL
UNION ALL
SELECT 'declines', id, _sdc_deleted_at FROM tap_wootric.declines WHERE _sdc_deleted_at IS NOT NULL
UNION ALL
SELECT 'end_users', id, _sdc_deleted_at FROM tap_wootric.end_users WHERE _sdc_deleted_at IS NOT NULL
ORDER BY found_at, stream, id;
