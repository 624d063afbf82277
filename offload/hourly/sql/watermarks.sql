-- The watermarks of all cold tables, as the last run copied them.
SELECT table_name, slice, attempt, cold_rows, is_final, toUnixTimestamp64Micro(exported_until) AS until_us
FROM offload_watermarks FINAL
