"""An exchange's WebSocket connections, kept subscribed and alive. May import `exchanges` and base modules."""
