"""Reads any exchange that ccxt supports, with our envelope. May import `stream`, `rest` and what they may import."""
