"""Our candles against the venue's own, cell by cell.

May import the rest of `series` but `run`, `questions` and `schedules`."""
