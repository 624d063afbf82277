"""Parses clients' SQL and decides what it may do. Pure functions, which import nothing of the node but its errors."""
