{#- Candles of some markets whose windows start in [from, until) (s), `direction` from the first or from the last.
    A candle of a stored frame (`seconds` = `base_seconds`) is a row of the view; others are put together from its rows.
    `with_state`: whether it is closed, complete and back-filled, which takes ClickHouse as long as all the rest.
    `is_backfilled`: a trade came after the candle could be closed; NULL: nobody knows. -#}
{% import '_windows.sql' as windows %}
{% set is_stored = seconds == base_seconds %}
{% macro joined(function, column) %}{{ column if is_stored else '%s(%s)' % (function, column) }}{% endmacro %}
{% macro extreme(function, column) %}toString({{ column if is_stored else '%s(toDecimal128(%s, 18))' % (function, column) }}){% endmacro %}
{% macro total(column, scale) %}{{ 'toString(%s)' % column if is_stored else windows.total(column, scale) }}{% endmacro %}
SELECT
    exchange,
    symbol,
    toUnixTimestamp64Second({{ windows.window('candle.window_start', seconds, offset) }}) AS opened,
    toString({{ 'candle.open' if is_stored else 'argMin(candle.open, candle.window_start)' }}) AS open,
    {{ extreme('max', 'candle.high') }} AS high,
    {{ extreme('min', 'candle.low') }} AS low,
    toString({{ 'candle.close' if is_stored else 'argMax(candle.close, candle.window_start)' }}) AS close,
    {{ total('candle.volume', 18) }} AS volume,
    {{ total('candle.quote_volume', 20) }} AS quote_volume,
    {{ joined('sum', 'candle.trade_count') }} AS trade_count,
    {{ total('candle.buy_volume', 18) }} AS buy_volume,
    -- Iceberg does not have when a candle last changed.
    {{ 'NULL' if is_cold else joined('max', 'candle.updated_at') }} AS updated_at
{% if with_state %},
    {{ windows.window_end('fromUnixTimestamp64Second(opened, \'UTC\')', seconds) }} AS ends,
    {{ joined('min', 'candle.is_closed') }} AND ends <= now('UTC') AND ({{ joined('max', 'candle.window_start') }} + {{ base_seconds }} = ends OR ends + {{ grace_seconds }} <= now('UTC')) AS is_closed,
    {{ joined('min', 'candle.is_complete') }} AS is_complete,
    updated_at > ends + {{ grace_seconds }} AS is_backfilled
{% endif %}
FROM {{ view }} AS candle
WHERE (candle.exchange, candle.symbol) IN {markets:Array(Tuple(String, String))}
{% if view == 'candles_as_text' %}
  AND candle.frame = {{ base_seconds }}
{% endif %}
  AND candle.window_start >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
  AND candle.window_start < fromUnixTimestamp64Second({until:Int64}, 'UTC')
{% if not is_stored %}
GROUP BY exchange, symbol, opened
{% endif %}
ORDER BY opened {{ direction }}, exchange, symbol
LIMIT {limit:UInt32}
