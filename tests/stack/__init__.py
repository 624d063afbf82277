"""The embedded stack as a user runs it."""
