"""Writes every layer to Iceberg, proves that every row arrived, and re-derives Silver and Gold from Iceberg.

May import `config`, `schemas`, `ddl`, declarations and answers of `series`, and `silver_processor`. A folder may import
those before it: `tables`; `clickhouse`; `files`; `hourly`, `maintain`; `proof`; `retention`; `publish`, `difference`;
`rederive`. The modules beside the folders are run by a command or by the service."""
