"""Turns Bronze messages into Silver rows, counted duplicates and dead letters.

The rooms, in order: `core` (pure rules), `batching` and `group`, `clickhouse`, `seen`, `inserts`. A room imports only
those before it. `worker` comes last and builds them all. `revalidation` serves the commands about dead letters.
"""
