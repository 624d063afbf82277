"""Writes every layer to Iceberg, proves that all of it arrived, and derives Silver and Gold again from there.

Folders, each of which may import those before it: `tables`, `clickhouse`, `files`, `hourly` and `maintain`, `proof`,
`retention`, `publish` and `difference`, `rederive`; then what a command or the service runs.
"""
