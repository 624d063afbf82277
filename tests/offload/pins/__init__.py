"""Pins, and what differs between two."""
