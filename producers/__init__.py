"""From an exchange's WebSocket message (live or recorded) to the raw topic."""
