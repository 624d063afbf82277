"""Binance's WebSocket interface: one poller asks ClickHouse what changed, and every client gets its streams of it."""
