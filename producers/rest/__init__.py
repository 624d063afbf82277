"""Reads an exchange's trades over REST, page by page. May import `exchanges` and base modules."""
