-- Candles of an exchange in Iceberg: those of some days, or all others.
SELECT *
FROM
(
{{ source }}
)
WHERE exchange = {key:String}
  AND intDiv(toUnixTimestamp64Micro(window_start), 86400000000) {{ 'NOT IN' if others else 'IN' }} ({{ days | join(', ') }})
