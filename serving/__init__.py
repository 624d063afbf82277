"""The service that shows the candles: Binance's REST and WebSocket interfaces and a page. It only reads."""
