"""Recorded and synthetic WebSocket frames, the script that makes the synthetic ones, and what trades they hold."""
