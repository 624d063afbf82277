"""Parquet files and the commits that name them. May import `tables` and `clickhouse`."""
