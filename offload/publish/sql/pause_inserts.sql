-- Refuse inserts of one day into Silver until a time, when the constraint ends by itself. Workers repeat such inserts.
ALTER TABLE silver_trades ADD CONSTRAINT {{ constraint }} CHECK
    now() >= toDateTime({{ until_s }}, 'UTC')
    OR timestamp < fromUnixTimestamp64Micro({{ from_us }}, 'UTC')
    OR timestamp >= fromUnixTimestamp64Micro({{ to_us }}, 'UTC')
