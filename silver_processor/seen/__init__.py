"""Compares rows with the trades that Silver holds: new, duplicate or another version. May import `clickhouse`,
`group`, `batching` and `core`.
"""
