"""Bronze messages to Silver rows, counted duplicates and dead letters.

The rooms, from the bottom: `core` (pure rules), `batching` and `group`, `clickhouse`, `seen`, `inserts`. A room imports
only those before it. The worker is on top and wires them together. `revalidation` serves the dead-letter commands.
"""
