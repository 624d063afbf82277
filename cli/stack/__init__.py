"""The stack: up, down, status, smoke, alerts, doctor. May import `common`."""
