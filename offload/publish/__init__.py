"""Replaces a day in the hot tables, all at once for every query. May import `retention` and below."""
