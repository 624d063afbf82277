"""Messages in and rows out: produce, replay, backfill, symbols, query, drain. May import `common`."""
