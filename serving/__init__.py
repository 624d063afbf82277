"""The page, Binance's interfaces over the candles, and the time machine over Raw. It reads, and writes nothing.

It may import `config`, `schemas` and `ddl`. Modules, each of which may import those before it: `warehouse`; `candles`,
`tickers`; `rest`; `live`, `page_api`, `replay`; `guard`; then the application and its server.
"""
