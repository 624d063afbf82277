-- Inserts of the day into Silver go through again.
ALTER TABLE silver_trades DROP CONSTRAINT IF EXISTS {{ constraint }}
