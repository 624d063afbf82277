-- Every candle, hot or cold, once. A partition is read from the hot view (behind which a re-derivation rebuilds the states)
-- until it leaves, then from Iceberg. A candle to which a trade came after that is in neither: the hot states have only
-- the late trades. Such a candle is made of all its Silver trades. Which candles are late is a scalar, too.
{% import '_left.sql' as left %}
{% import '_candles.sql' as candles %}
{% import '_counting.sql' as counting %}
{#- Files of version 0.1 have no volume by side. It must not be taken for 0. -#}
{%- macro known(amount, name, scale) -%}
toDecimal256(if(throwIf(isNull({{ amount }}),
            'The {{ name }} of a candle that version 0.1 offloaded is not known yet: leave this column out, or make it with `medallion offload run`'),
            toDecimal128(0, {{ scale }}), assumeNotNull({{ amount }})), {{ scale }})
{%- endmacro %}
CREATE OR REPLACE VIEW {{ view }}
(
{{ candles.columns(exact=exact, hot=false) }}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    {{ left.gone(table) }},
    (
        SELECT groupUniqArray((toString(exchange), toString(symbol), toInt64(toUnixTimestamp(window_start))))
        FROM
        (
{% for states in (state, state ~ '_leaving') %}
            SELECT exchange, symbol, window_start
            FROM {{ states }}
            WHERE frame = {{ seconds }} AND {{ partition }}(window_start) IN (SELECT arrayJoin(gone.1))
              AND updated_at > transform({{ partition }}(window_start), gone.1, gone.2, toDateTime64(0, 6, 'UTC'))
            {{ 'UNION ALL' if not loop.last }}
{% endfor %}
        )
    ) AS late,
    -- Where there is none, a time that no trade has.
    if(empty(late), toInt64({{ end_us // 1000000 }}), arrayMin(candle -> candle.3, late)) AS late_from,
    if(empty(late), toInt64({{ end_us // 1000000 }}), arrayMax(candle -> candle.3, late) + {{ seconds }}) AS late_to
SELECT
    exchange,
    symbol,
    window_start,
{% for name, _, _ in candles.amounts %}
    {{ name }},
{% endfor %}
    trade_count,
{% for name, _, _ in candles.by_side %}
    {{ name }},
{% endfor %}
    is_closed,
    is_complete
FROM {{ hot }}
WHERE {{ partition }}(window_start) NOT IN (SELECT arrayJoin(gone.1))
UNION ALL
SELECT
    candle.exchange AS exchange,
    candle.symbol AS symbol,
    candle.window_start AS window_start,
    {{ candles.shown('candle', exact, candles.amounts) }}
    candle.trade_count AS trade_count,
    {{ candles.shown('candle', exact, candles.by_side) }}
    {{ candles.is_closed(seconds, state) }} AS is_closed,
    {{ candles.is_complete(seconds, 'producer_gaps') }} AS is_complete
FROM
(
    SELECT
        cold.exchange AS exchange,
        cold.symbol AS symbol,
        CAST(cold.window_start, 'DateTime64(0, \'UTC\')') AS window_start,
        cold.open AS open,
        cold.high AS high,
        cold.low AS low,
        cold.close AS close,
        toDecimal256(cold.volume, 18) AS volume,
        toDecimal256(cold.quote_volume, 20) AS quote_volume,
        toUInt64(cold.trade_count) AS trade_count,
{% for name, scale, _ in candles.by_side %}
        {{ known('cold.' ~ name, name, scale) }} AS {{ name }}{{ '' if loop.last else ',' }}
{% endfor %}
    FROM {{ source }} AS cold
    WHERE {{ partition }}(cold.window_start) IN (SELECT arrayJoin(gone.1))
      AND (cold.exchange, cold.symbol, intDiv(toUnixTimestamp64Micro(cold.window_start), 1000000)) NOT IN
          (SELECT candle.1, candle.2, candle.3 FROM (SELECT arrayJoin(late) AS candle))
    UNION ALL
    SELECT
        toString(exchange) AS exchange,
        toString(symbol) AS symbol,
        {{ window_start }} AS window_start,
        argMin(trades.price, (trades.timestamp, trades.sequence, trades.trade_id)) AS open,
        max(trades.price) AS high,
        min(trades.price) AS low,
        argMax(trades.price, (trades.timestamp, trades.sequence, trades.trade_id)) AS close,
        sum(toDecimal256(trades.quantity, 18)) AS volume,
        sum(toDecimal256(trades.quote_volume, 20)) AS quote_volume,
        {{ counting.trades('trades') }} AS trade_count,
        sumIf(toDecimal256(trades.quantity, 18), trades.side = 'BUY') AS buy_volume,
        sumIf(toDecimal256(trades.quantity, 18), trades.side = 'SELL') AS sell_volume
    FROM silver_trades_all AS trades
    WHERE {{ counting.is_counted('trades') }}
      AND timestamp >= fromUnixTimestamp64Micro(late_from * 1000000, 'UTC')
      AND timestamp < fromUnixTimestamp64Micro(late_to * 1000000, 'UTC')
      AND (toString(exchange), toString(symbol), intDiv(toUnixTimestamp64Micro(timestamp), {{ seconds }}000000) * {{ seconds }}) IN
          (SELECT candle.1, candle.2, candle.3 FROM (SELECT arrayJoin(late) AS candle))
    GROUP BY exchange, symbol, window_start
) AS candle
