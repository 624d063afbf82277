"""Every layer to Iceberg, the proof that it arrived, and Silver and Gold made again from there.

Rooms, each knows those before it: `tables`, `clickhouse`, `files`, `hourly` and `maintain`, `proof`, `retention`,
`publish` and `difference`, `rederive`; on top what a command or the service runs.
"""
