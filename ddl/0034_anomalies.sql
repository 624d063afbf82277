-- Anomalies that `medallion quality check` finds without bars of the venue: stale series, jumps and the like.
CREATE TABLE IF NOT EXISTS {{ db }}.quality_anomalies_log{{ on_cluster }}
(
    kind LowCardinality(String),
    series LowCardinality(String),
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    frame LowCardinality(String),
    at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value Float64,
    bound Float64,
    detail String CODEC(ZSTD(1)),
    is_open Bool,
    checked_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'checked_at') }}
PARTITION BY toYYYYMM(at)
ORDER BY (kind, series, exchange, symbol, frame, at)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Storage of quality_anomalies, which shows the newest check of each';

CREATE OR REPLACE VIEW {{ db }}.quality_anomalies{{ on_cluster }}
(
    kind String COMMENT 'stale_series, missing_rows, price_off, jump or contradicting_duplicates, see docs/series.md',
    series String COMMENT 'the series; candles: ours; trades: Silver',
    exchange String COMMENT 'exchange-and-market code; empty: the series is of no market',
    symbol String COMMENT 'canonical symbol: BTCUSDT; empty: the series is of no market',
    frame String COMMENT 'length of the periods; empty: the rows are moments',
    at DateTime64(6, 'UTC') COMMENT 'the window, day or newest row that it is about, UTC',
    value Float64 COMMENT 'how far it is off: hours, rows, per cent or trades, by kind',
    bound Float64 COMMENT 'the bound that the value is above, in the same unit',
    detail String COMMENT 'what was seen',
    is_open Bool COMMENT 'the newest check still found it',
    checked_at DateTime64(6, 'UTC') COMMENT 'when it was checked'
)
AS
SELECT kind, series, exchange, symbol, frame, at, value, bound, detail, is_open, checked_at
FROM {{ db }}.quality_anomalies_log FINAL
COMMENT 'What looks wrong without a comparison with the venue; the newest check of each';
