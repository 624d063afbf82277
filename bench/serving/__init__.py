"""The page's service on its own: time to a WebSocket message, to an HTTP answer, a thousand clients, replays."""
