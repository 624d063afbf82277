"""The hourly run: what it writes, whatever fails."""
