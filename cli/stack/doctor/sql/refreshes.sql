-- The views that ClickHouse makes by a schedule, and why the last time failed. The time is that of the last success.
SELECT database, view, exception, toString(last_success_time) AS made_at
FROM system.view_refreshes
ORDER BY database, view
