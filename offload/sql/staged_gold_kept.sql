-- Candle states of the partition that the re-derivation does not concern.
INSERT INTO {{ table }}_staged
SELECT *
FROM {{ table }}
WHERE _partition_id = {partition:String}
  AND NOT (exchange = {key:String}
           AND toUnixTimestamp(window_start) >= intDiv({event_from_us:Int64}, 1000000)
           AND toUnixTimestamp(window_start) < intDiv({event_to_us:Int64}, 1000000))
SETTINGS insert_deduplicate = 0
