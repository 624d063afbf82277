"""The stack: up, down, status, smoke, alerts, doctor. Of `cli` it may import only `common`."""
