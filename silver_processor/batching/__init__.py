"""Which Bronze messages make one insert, and when. May import `core`."""
