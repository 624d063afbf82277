"""The whole pipeline on one machine, from PyPI packages alone.

May import `config`, `ddl`, and of `silver_processor` the shards. It starts `clickhouse`, which is a process of its own,
and does not import it."""
