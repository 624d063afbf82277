-- Stage cold Bronze rows: those of other exchanges, which stay, or all rows of a day that hot Bronze must have.
INSERT INTO bronze_trades_staged ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ source }}
)
WHERE ({except_exchange:String} = '' OR exchange != {except_exchange:String})
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
  AND ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
SETTINGS deduplicate_insert_select = 'disable', max_partitions_per_insert_block = 0
