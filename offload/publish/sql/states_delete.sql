-- Candle states of some exchanges and a day. Rows that are inserted meanwhile are of other days.
ALTER TABLE gold_ohlcv_state
DELETE WHERE {{ condition }}
SETTINGS mutations_sync = 2
