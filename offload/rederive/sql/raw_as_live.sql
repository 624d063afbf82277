-- Cold Raw rows with the columns and types of trades_raw, for the query of the live view.
SELECT
    exchange, symbol, trade_id, price, quantity, timestamp_raw, side, sequence, kind, matches, raw_json,
    raw_topic AS _topic,
    toUInt32(raw_partition) AS _partition,
    toUInt64(raw_offset) AS _offset,
    toDateTime64(published_at, 3, 'UTC') AS published_at,
    received_at,
    ingested_at
FROM
(
{{ source }}
)
WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if key %}
  AND exchange = {{ key | literal }}
{% endif %}
