{#- The columns of `latest_prices`, its live view and its stored copy; the row that tells when a copy was made. -#}

{#- From this age on the copy is an error. -#}
{%- set oldest_seconds = 60 -%}

{%- macro columns() -%}
(
    exchange String COMMENT 'exchange-and-market code',
    symbol String COMMENT 'canonical symbol: BTCUSDT',
    last_price Float64 COMMENT 'of the last trade by (timestamp, sequence, trade_id), quote currency; the double nearest to the exact value',
    last_time DateTime64(6, 'UTC') COMMENT 'of that trade, by the exchange',
    open_24h Float64 COMMENT 'first price since 24 hours ago, rounded down to the half hour; no trade since: last_price',
    high_24h Float64 COMMENT 'highest price of these hours; no trade since: last_price',
    low_24h Float64 COMMENT 'lowest price of these hours; no trade since: last_price',
    volume_24h Float64 COMMENT 'sum of quantity in these hours, base currency',
    quote_volume_24h Float64 COMMENT 'sum of price * quantity in these hours, quote currency',
    trade_count_24h UInt64 COMMENT 'trades in these hours',
    change_24h Float64 COMMENT 'last_price - open_24h, the double nearest to the exact difference',
    change_percent_24h Float64 COMMENT 'change_24h / open_24h * 100',
    as_of DateTime64(6, 'UTC') COMMENT 'when this was computed: trades that came later are not in it'
)
{%- endmacro -%}

{%- macro marker(made_at) -%}
SELECT
    '' AS exchange,
    '' AS symbol,
    0 AS last_price,
    toDateTime64(0, 6, 'UTC') AS last_time,
    0 AS open_24h,
    0 AS high_24h,
    0 AS low_24h,
    0 AS volume_24h,
    0 AS quote_volume_24h,
    0 AS trade_count_24h,
    0 AS change_24h,
    0 AS change_percent_24h,
    {{ made_at }} AS as_of
{%- endmacro -%}
