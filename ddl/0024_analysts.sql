-- Views for analysts besides the candles: trades as doubles, and the newest price of every market.
{% import '_candles.sql' as candles %}
{% import '_latest_prices.sql' as prices %}

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

-- Planning `latest_prices_live` takes longer than 10 ms, so this view reads a copy of it that ClickHouse makes every second
-- (0036_latest_prices). A copy that is no longer made is an error, never an old price or a missing market: PREWHERE looks at
-- the age of every row, before a condition of the query leaves some out.
CREATE OR REPLACE VIEW {{ db }}.latest_prices{{ on_cluster }}
{{ prices.columns() }}
AS
SELECT
    exchange,
    symbol,
    last_price,
    last_time,
    open_24h,
    high_24h,
    low_24h,
    volume_24h,
    quote_volume_24h,
    trade_count_24h,
    change_24h,
    change_percent_24h,
    as_of
FROM {{ db }}.latest_prices_copy
PREWHERE throwIf(
    as_of < now64(6, 'UTC') - INTERVAL {{ prices.oldest_seconds }} SECOND,
    'latest_prices is older than {{ prices.oldest_seconds }} s: read latest_prices_live, and have exception in system.view_refreshes looked at') = 0
WHERE exchange != ''
COMMENT 'The newest price of every market and its last 24 hours, at most a second old';
