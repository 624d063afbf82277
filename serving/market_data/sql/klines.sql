{#- Candles of some markets whose windows start in [from, until) (s), `direction` from the first or from the last.
    `with_state`: whether it is closed, complete and back-filled, which takes ClickHouse as long as all the rest.
    `is_backfilled`: a trade came after the candle could be closed; NULL: nobody knows. -#}
{% import '_windows.sql' as windows %}
SELECT
    exchange,
    symbol,
    toUnixTimestamp64Second({{ windows.window('candle.window_start', seconds, offset) }}) AS opened,
    toString(argMin(candle.open, candle.window_start)) AS open,
    toString(max(candle.high)) AS high,
    toString(min(candle.low)) AS low,
    toString(argMax(candle.close, candle.window_start)) AS close,
    {{ windows.total('candle.volume', 18) }} AS volume,
    {{ windows.total('candle.quote_volume', 20) }} AS quote_volume,
    sum(candle.trade_count) AS trade_count,
    {{ windows.total('candle.buy_volume', 18) }} AS buy_volume,
    -- Iceberg does not have when a candle last changed.
    {{ 'NULL' if is_cold else 'max(candle.updated_at)' }} AS updated_at
{% if with_state %},
    {{ windows.window_end('fromUnixTimestamp64Second(opened, \'UTC\')', seconds) }} AS ends,
    min(candle.is_closed) AND ends <= now('UTC') AND (max(candle.window_start) + {{ base_seconds }} = ends OR ends + {{ grace_seconds }} <= now('UTC')) AS is_closed,
    min(candle.is_complete) AS is_complete,
    updated_at > ends + {{ grace_seconds }} AS is_backfilled
{% endif %}
FROM {{ view }} AS candle
WHERE (candle.exchange, candle.symbol) IN {markets:Array(Tuple(String, String))}
  AND candle.window_start >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
  AND candle.window_start < fromUnixTimestamp64Second({until:Int64}, 'UTC')
GROUP BY exchange, symbol, opened
ORDER BY opened {{ direction }}, exchange, symbol
LIMIT {limit:UInt32}
