"""The live producer on one core, from one WebSocket connection to the broker, beside a loop that only receives."""
