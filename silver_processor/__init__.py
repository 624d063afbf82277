"""Bronze messages to Silver rows, counted duplicates and dead letters.

Rooms, each knows those before it: `core` (pure rules), `batching` and `group`, `seen`, `letters`, `inserts`; on top
the worker.
"""
