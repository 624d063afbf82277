"""An exchange simulator: recorded messages over a real WebSocket; may import `replay` and `exchanges`."""
