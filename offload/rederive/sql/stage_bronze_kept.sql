-- Cold Bronze rows that stay: of other exchanges, or of a day that is to be hot as Iceberg has it.
INSERT INTO bronze_trades_staged ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ source }}
)
WHERE ({but:String} = '' OR exchange != {but:String})
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
  AND ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
SETTINGS deduplicate_insert_select = 'disable', max_partitions_per_insert_block = 0
