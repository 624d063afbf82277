-- The obvious table for bars, which keeps the newest row of each key.
CREATE TABLE bars_row_wise
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    frame LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    open Decimal(38, 18),
    high Decimal(38, 18),
    low Decimal(38, 18),
    close Decimal(38, 18),
    volume Decimal(38, 18),
    quote_volume Decimal(38, 18),
    trade_count UInt64,
    buy_volume Decimal(38, 18),
    received_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY (exchange, symbol, frame, window_start)
