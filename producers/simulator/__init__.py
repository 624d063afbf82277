"""An exchange simulator: recorded messages over a real WebSocket, in each exchange's subscribe protocol."""
