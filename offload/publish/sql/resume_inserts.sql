-- Accept inserts of the day into Silver again.
ALTER TABLE silver_trades DROP CONSTRAINT IF EXISTS {{ constraint }}
