-- Rows of a partition, and the newest event time and arrival among them.
SELECT
    count() AS hot_rows,
    toUnixTimestamp64Micro(toDateTime64(max({{ event }}), 6, 'UTC')) AS event_us,
    toUnixTimestamp64Micro(toDateTime64(max({{ arrival }}), 6, 'UTC')) AS arrival_us
FROM {{ table }}
WHERE _partition_id = {partition:String}
