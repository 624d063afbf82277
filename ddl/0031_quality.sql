-- The results of `medallion quality check`: our candles against the venue's bars, the newest check of each window.
CREATE TABLE IF NOT EXISTS {{ db }}.quality_checks_log{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    frame LowCardinality(String),
    window_start DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    result LowCardinality(String),
    cause LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    compared UInt8,
    differing Array(LowCardinality(String)),
    ours Array(String) CODEC(ZSTD(1)),
    theirs Array(String) CODEC(ZSTD(1)),
    trade_ids Array(String) CODEC(ZSTD(1)),
    checked_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'checked_at') }}
PARTITION BY toYYYYMM(window_start)
ORDER BY (exchange, symbol, frame, window_start)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Storage of quality_checks, which shows the newest check of each window';

CREATE OR REPLACE VIEW {{ db }}.quality_checks{{ on_cluster }}
(
    exchange String COMMENT 'exchange-and-market code',
    symbol String COMMENT 'canonical symbol: BTCUSDT',
    frame String COMMENT 'length of the candle: 1m',
    window_start DateTime64(6, 'UTC') COMMENT 'start of the window, UTC',
    result String COMMENT 'equal, different, no_candle (ours is missing) or no_bar (the venue''s is)',
    cause String COMMENT 'why they differ, see docs/series.md; empty: they do not',
    detail String COMMENT 'where and what the difference is',
    compared UInt8 COMMENT 'cells that both sides have',
    differing Array(String) COMMENT 'cells that differ: open, high, low, close, volume, quote_volume, trade_count, buy_volume',
    ours Array(String) COMMENT 'our value of each cell that differs, exact; empty: none',
    theirs Array(String) COMMENT 'the venue''s value of each, exact; empty: none',
    trade_ids Array(String) COMMENT 'trades that explain the difference',
    checked_at DateTime64(6, 'UTC') COMMENT 'when it was compared'
)
AS
SELECT exchange, symbol, frame, window_start, result, cause, detail, compared, differing, ours, theirs, trade_ids, checked_at
FROM {{ db }}.quality_checks_log FINAL
COMMENT 'Our candles against the venue''s own, cell by cell; the newest check of each window';
