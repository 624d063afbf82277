"""Decides which Bronze messages make one insert, and when the insert starts. May import `core`."""
