-- Let inserts into Silver fail until a moment: the workers repeat them, with the same token. It ends by itself.
ALTER TABLE silver_trades ADD CONSTRAINT IF NOT EXISTS publishing CHECK now() >= toDateTime({{ until_s }}, 'UTC')
