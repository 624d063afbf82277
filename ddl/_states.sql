{#- The candle states of Silver rows. The materialized view of Gold has this query, and a re-derivation makes the states
    of a day by it. Silver is aggregated to minutes once; then each minute goes to a window of every time frame. -#}
{%- import '_macros.sql' as sql -%}
{%- import '_counting.sql' as counting -%}

{%- macro states(source, timeframes) -%}
SELECT
    frame,
    exchange,
    symbol,
    toDateTime64(intDiv(minute, frame) * frame, 0, 'UTC') AS window_start,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    buy_volume,
    sell_volume,
    updated_at
FROM
(
    WITH
        {{ sql.order_key('silver') }} AS order_key
    SELECT
        silver.exchange AS exchange,
        silver.symbol AS symbol,
        intDiv(toUnixTimestamp64Micro(silver.timestamp), 60000000) * 60 AS minute,
        argMinState(silver.price, order_key) AS open,
        max(silver.price) AS high,
        min(silver.price) AS low,
        argMaxState(silver.price, order_key) AS close,
        sum(toDecimal256(silver.quantity, 18)) AS volume,
        sum(toDecimal256(silver.quote_volume, 20)) AS quote_volume,
        {{ counting.trades('silver') }} AS trade_count,
        sumIf(toDecimal256(silver.quantity, 18), silver.side = 'BUY') AS buy_volume,
        sumIf(toDecimal256(silver.quantity, 18), silver.side = 'SELL') AS sell_volume,
        max(silver.validated_at) AS updated_at
    FROM {{ source }} AS silver
    WHERE {{ counting.is_counted('silver') }}
    GROUP BY exchange, symbol, minute
)
ARRAY JOIN [{% for frame in timeframes %}toUInt32({{ frame.seconds }}){{ '' if loop.last else ', ' }}{% endfor %}] AS frame
{%- endmacro -%}
