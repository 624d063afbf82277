-- Let inserts of one day into Silver fail until a moment: the workers repeat them, with the same token. It ends by itself.
ALTER TABLE silver_trades ADD CONSTRAINT {{ constraint }} CHECK
    now() >= toDateTime({{ until_s }}, 'UTC')
    OR timestamp < fromUnixTimestamp64Micro({{ from_us }}, 'UTC')
    OR timestamp >= fromUnixTimestamp64Micro({{ to_us }}, 'UTC')
