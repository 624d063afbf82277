-- The watermarks of a cold table as they were copied last.
SELECT slice, attempt, cold_rows, is_final, toUnixTimestamp64Micro(exported_until) AS until_us
FROM offload_watermarks FINAL
WHERE table_name = {table:String}
