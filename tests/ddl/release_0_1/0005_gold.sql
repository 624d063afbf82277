{% from '_layers.sql' import retention, timeframes %}
-- Gold: candles, kept as aggregation states that every Silver insert adds to.
-- Sums are Decimal256: a Decimal128 sum overflows in silence.
{% for frame in timeframes %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ frame.state_table }}{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    window_start DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    open AggregateFunction(argMin, Decimal(38, 18), String),
    high SimpleAggregateFunction(max, Decimal(38, 18)),
    low SimpleAggregateFunction(min, Decimal(38, 18)),
    close AggregateFunction(argMax, Decimal(38, 18), String),
    volume SimpleAggregateFunction(sum, Decimal(76, 18)),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 20)),
    trade_count SimpleAggregateFunction(sum, UInt64),
    buy_volume SimpleAggregateFunction(sum, Decimal(76, 18)),
    sell_volume SimpleAggregateFunction(sum, Decimal(76, 18)),
    updated_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = {{ sql.merge_tree('Aggregating') }}
PARTITION BY {{ frame.partition_sql }}
ORDER BY (exchange, symbol, window_start)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Aggregation states of the {{ frame.code }} candles: read {{ frame.view }}';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.{{ frame.materialized_view }}{{ on_cluster }} TO {{ db }}.{{ frame.state_table }}
AS
WITH
    {{ sql.order_key('silver') }} AS order_key
SELECT
    silver.exchange AS exchange,
    silver.symbol AS symbol,
    {{ frame.window_start_sql }} AS window_start,
    argMinState(silver.price, order_key) AS open,
    max(silver.price) AS high,
    min(silver.price) AS low,
    argMaxState(silver.price, order_key) AS close,
    sum(toDecimal256(silver.quantity, 18)) AS volume,
    sum(toDecimal256(silver.quote_volume, 20)) AS quote_volume,
    count() AS trade_count,
    sumIf(toDecimal256(silver.quantity, 18), silver.side = 'BUY') AS buy_volume,
    sumIf(toDecimal256(silver.quantity, 18), silver.side = 'SELL') AS sell_volume,
    max(silver.validated_at) AS updated_at
FROM {{ db }}.silver_trades AS silver
GROUP BY exchange, symbol, window_start;

CREATE OR REPLACE VIEW {{ db }}.{{ frame.view }}{{ on_cluster }}
AS
SELECT
    state.exchange AS exchange,
    state.symbol AS symbol,
    state.window_start AS window_start,
    argMinMerge(state.open) AS open,
    max(state.high) AS high,
    min(state.low) AS low,
    argMaxMerge(state.close) AS close,
    sum(state.volume) AS volume,
    sum(state.quote_volume) AS quote_volume,
    sum(state.trade_count) AS trade_count,
    sum(state.buy_volume) AS buy_volume,
    sum(state.sell_volume) AS sell_volume,
    max(state.updated_at) AS updated_at
FROM {{ db }}.{{ frame.state_table }} AS state
GROUP BY exchange, symbol, window_start;
{% endfor %}
