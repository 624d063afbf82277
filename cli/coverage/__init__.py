"""Which days of which market are complete, and why the others are not. May import `common`."""
