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
SETTINGS deduplicate_insert_select = 'disable',
         -- On a cluster: a shard takes the rows by a plain insert, and one statement reads all shards.
         deduplicate_insert = 'disable', parallel_distributed_insert_select = 0
