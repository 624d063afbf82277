-- Times as Bronze normalises them, and the shards of markets, for messages that are parsed again. No migration.
WITH
    {{ sql.micros_of('text') }}
SELECT
    if({{ sql.is_plausible('micros') }}, micros, toInt64(-1)) AS plausible_micros,
    toString(modulo(cityHash64(exchange, symbol), {{ bronze_shards }})) AS shard
FROM
(
    SELECT
        arrayJoin(arrayZip({texts:Array(String)}, {exchanges:Array(String)}, {symbols:Array(String)})) AS message,
        message.1 AS text, message.2 AS exchange, message.3 AS symbol
)
