-- Refuse inserts of one day into Silver until a time, when the constraint ends by itself. Workers repeat such inserts.
-- On a cluster every replica of the shard refuses them when this returns, since an insert may come to any of them.
ALTER TABLE silver_trades ADD CONSTRAINT {{ constraint }} CHECK
    now() >= toDateTime({{ until_s }}, 'UTC')
    OR timestamp < fromUnixTimestamp64Micro({{ from_us }}, 'UTC')
    OR timestamp >= fromUnixTimestamp64Micro({{ to_us }}, 'UTC')
SETTINGS alter_sync = 2
