"""Which days of which market are complete, and why the others are not. Of `cli` it may import only `common`."""
