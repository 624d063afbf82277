-- Copy cold Silver rows of one exchange and day to the staging table of Silver.
INSERT INTO silver_trades_staged ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ source }}
)
WHERE exchange = {key:String}
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
SETTINGS deduplicate_insert_select = 'disable'
