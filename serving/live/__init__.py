"""Binance's WebSocket interface: one poller reads changes from ClickHouse, and clients get the streams they chose.

May import `rest` and before."""
