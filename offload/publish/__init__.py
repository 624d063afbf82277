"""Replaces a day in the hot tables, of each shard all at once for every query. May import `retention` and below."""
