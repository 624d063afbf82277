"""The page and Binance's REST and WebSocket interfaces over the candles. It reads, and writes nothing.

It may import `config`, `schemas` and `ddl`. Modules, each of which may import those before it: `warehouse`; `candles`,
`tickers`; `rest`; `live`, `page_api`; `guard`; then the application and its server.
"""
