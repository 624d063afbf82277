-- Candles of an exchange in Iceberg: those of the given days, or those of all other days.
SELECT *
FROM
(
{{ source }}
)
WHERE exchange = {key:String}
  AND intDiv(toUnixTimestamp64Micro(window_start), 86400000000) {{ 'NOT IN' if others else 'IN' }} ({{ days | join(', ') }})
