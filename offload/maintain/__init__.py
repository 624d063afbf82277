"""Compaction and expiry of the cold tables. May import `files` and below."""
