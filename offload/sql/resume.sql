-- Inserts into Silver go through again.
ALTER TABLE silver_trades DROP CONSTRAINT IF EXISTS publishing
