"""Binance's REST interface, for every exchange code. May import `parameters` and `market_data`."""
