-- Candle states of some exchanges and a day: what comes into the table meanwhile is of other days.
ALTER TABLE gold_ohlcv_state
DELETE WHERE {{ here }}
SETTINGS mutations_sync = 2
