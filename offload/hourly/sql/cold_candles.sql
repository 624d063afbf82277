-- Candles that Iceberg has of an exchange, of some days only or of all others.
SELECT *
FROM
(
{{ source }}
)
WHERE exchange = {key:String}
  AND intDiv(toUnixTimestamp64Micro(window_start), 86400000000) {{ 'NOT IN' if others else 'IN' }} ({{ days | join(', ') }})
