"""Our candles against the venue's, and what looks wrong in Silver."""
