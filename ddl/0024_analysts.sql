-- Views for analysts besides the candles: trades as doubles, and the newest price of every market.
{% import '_candles.sql' as candles %}

ALTER TABLE {{ db }}.silver_trades{{ on_cluster }}
    COMMENT COLUMN exchange 'exchange-and-market code',
    COMMENT COLUMN trade_id 'as the exchange gives it',
    COMMENT COLUMN price 'quote currency, exact. A Decimal divided or multiplied by a Decimal overflows without a word: use toFloat64(toString(price)), or the view trades',
    COMMENT COLUMN quantity 'base currency, exact: calculate with toFloat64(toString(quantity)), or the view trades',
    COMMENT COLUMN quote_volume 'price * quantity, exact: calculate with toFloat64(toString(quote_volume)), or the view trades',
    COMMENT COLUMN timestamp 'of the trade, by the exchange',
    COMMENT COLUMN validated_at 'when Silver took it';

CREATE OR REPLACE VIEW {{ db }}.trades{{ on_cluster }}
(
    exchange String COMMENT 'exchange-and-market code',
    symbol String COMMENT 'canonical symbol: BTCUSDT',
    trade_id String COMMENT 'as the exchange gives it',
    price Float64 COMMENT 'quote currency; the double nearest to the exact value',
    quantity Float64 COMMENT 'base currency; the double nearest to the exact value',
    quote_volume Float64 COMMENT 'the double nearest to price * quantity, quote currency',
    timestamp DateTime64(6, 'UTC') COMMENT 'of the trade, by the exchange',
    side String COMMENT 'of the taker: BUY or SELL',
    validated_at DateTime64(6, 'UTC') COMMENT 'when Silver took it',
    sequence UInt64 COMMENT 'orders trades of one timestamp, then trade_id does',
    trade_kind String COMMENT 'the kind of trade, see docs/kinds.md',
    match_count UInt32 COMMENT 'the row stands for so many matches',
    is_counted Bool COMMENT 'whether candles count it, as the exchange does in its own',
    exchange_symbol String COMMENT 'as the exchange writes it',
    raw_topic String COMMENT 'Kafka topic of the raw message',
    raw_partition UInt32 COMMENT 'Kafka partition of the raw message',
    raw_offset UInt64 COMMENT 'Kafka offset of the raw message',
    published_at DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the raw message',
    received_at DateTime64(6, 'UTC') COMMENT 'when the producer received it',
    ingested_at DateTime64(6, 'UTC') COMMENT 'when ClickHouse took the raw message',
    rules_version String COMMENT 'rules and registry that validated it: see rules_versions'
)
AS
SELECT
    silver.exchange AS exchange,
    silver.symbol AS symbol,
    silver.trade_id AS trade_id,
    {{ candles.nearest('silver.price') }} AS price,
    {{ candles.nearest('silver.quantity') }} AS quantity,
    {{ candles.nearest('silver.quote_volume') }} AS quote_volume,
    silver.timestamp AS timestamp,
    silver.side AS side,
    silver.validated_at AS validated_at,
    silver.sequence AS sequence,
    silver.trade_kind AS trade_kind,
    silver.match_count AS match_count,
    {{ counting.is_counted('silver') }} AS is_counted,
    silver.exchange_symbol AS exchange_symbol,
    silver.raw_topic AS raw_topic,
    silver.raw_partition AS raw_partition,
    silver.raw_offset AS raw_offset,
    silver.published_at AS published_at,
    silver.received_at AS received_at,
    silver.ingested_at AS ingested_at,
    silver.rules_version AS rules_version
FROM {{ db }}.silver_trades AS silver
COMMENT 'Silver for arithmetic; silver_trades has the digits';

-- The 24 hours are summed from 30-minute candles, whose partitions are days, so that two partitions are read. With an
-- edge at a whole minute the view would take five times as long. The last price of a market that was quiet for months
-- is in its daily candles. `join_use_nulls` is set because some clients set it to 1, and the view's columns have no NULL.
CREATE OR REPLACE VIEW {{ db }}.latest_prices{{ on_cluster }}
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
    change_percent_24h Float64 COMMENT 'change_24h / open_24h * 100'
)
AS
SELECT
    exchange,
    symbol,
    {{ candles.nearest('newest.price') }} AS last_price,
    newest.time AS last_time,
    {{ candles.nearest('if(trade_count_24h = 0, newest.price, hours.open)') }} AS open_24h,
    {{ candles.nearest('if(trade_count_24h = 0, newest.price, hours.high)') }} AS high_24h,
    {{ candles.nearest('if(trade_count_24h = 0, newest.price, hours.low)') }} AS low_24h,
    {{ candles.nearest('hours.volume') }} AS volume_24h,
    {{ candles.nearest('hours.quote_volume') }} AS quote_volume_24h,
    hours.trade_count AS trade_count_24h,
    {{ candles.nearest('if(trade_count_24h = 0, 0, newest.price - hours.open)') }} AS change_24h,
    change_24h / open_24h * 100 AS change_percent_24h
FROM
(
    SELECT
        state.exchange AS exchange,
        state.symbol AS symbol,
        argMaxMerge(state.close) AS price,
        {{ sql.time_of('argMaxMergeState(state.close)') }} AS time
    FROM {{ db }}.gold_ohlcv_state AS state
    WHERE state.frame = 86400
    GROUP BY exchange, symbol
) AS newest
LEFT JOIN
(
    SELECT
        state.exchange AS exchange,
        state.symbol AS symbol,
        argMinMerge(state.open) AS open,
        max(state.high) AS high,
        min(state.low) AS low,
        sum(state.volume) AS volume,
        sum(state.quote_volume) AS quote_volume,
        sum(state.trade_count) AS trade_count
    FROM {{ db }}.gold_ohlcv_state AS state
    WHERE state.frame = 1800
      AND state.window_start >= toDateTime64(intDiv(toUnixTimestamp(now('UTC')) - 86400, 1800) * 1800, 0, 'UTC')
    GROUP BY exchange, symbol
) AS hours USING (exchange, symbol)
SETTINGS join_use_nulls = 0
COMMENT 'The newest price of every market and its last 24 hours';
