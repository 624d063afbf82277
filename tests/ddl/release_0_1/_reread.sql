-- What Bronze makes of times, and the shards of markets, for messages that are read again: no migration.
SELECT
    {{ sql.micros_of('text') }} AS found,
    if({{ sql.is_plausible('found') }}, found, toInt64(-1)) AS micros,
    toString(modulo(cityHash64(exchange, symbol), {{ bronze_shards }})) AS shard
FROM
(
    SELECT
        arrayJoin(arrayZip(CAST(%(texts)s, 'Array(String)'), CAST(%(exchanges)s, 'Array(String)'), CAST(%(symbols)s, 'Array(String)'))) AS message,
        message.1 AS text, message.2 AS exchange, message.3 AS symbol
)
