"""The stack: up, down, status, smoke, alerts. May import `common`."""
