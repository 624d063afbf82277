"""Keeps an exchange's WebSocket connections open and subscribed. May import `exchanges` and base modules."""
