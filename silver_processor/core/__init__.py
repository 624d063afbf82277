"""The rules of Silver: pure functions from Arrow tables to Arrow tables."""
