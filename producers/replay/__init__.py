"""Publishes recorded messages, at a chosen speed. May import `kafka` and what it may import."""
