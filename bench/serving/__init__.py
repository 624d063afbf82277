"""The page's service alone: time to a WebSocket message and to an HTTP answer, a thousand clients, replays."""
