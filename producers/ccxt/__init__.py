"""Reads trades of any exchange that ccxt supports. May import `stream`, `rest`, `kafka` and what they may import."""
