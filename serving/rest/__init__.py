"""Binance's REST interface, for every exchange code."""
