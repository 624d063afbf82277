"""The trades that Silver holds: which rows are new, and in which version. May import `clickhouse` and below."""
