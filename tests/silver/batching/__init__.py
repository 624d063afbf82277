"""Which messages an insert takes, and when."""
