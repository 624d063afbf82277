"""An exchange's WebSocket connections, kept subscribed and alive; may import `exchanges` and base modules."""
