-- Delete the candle states of exchanges on a day. Rows that are inserted meanwhile belong to other days.
ALTER TABLE gold_ohlcv_state
DELETE WHERE {{ condition }}
SETTINGS mutations_sync = 2
