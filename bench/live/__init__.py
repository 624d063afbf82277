"""The live producer on one core, from one WebSocket connection to the broker, and a loop that only receives."""
