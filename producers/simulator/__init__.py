"""Simulates exchanges: sends recorded messages over a real WebSocket. May import `replay` and `exchanges`."""
