"""Bronze messages gathered into inserts: which messages, and when. May import `core`."""
