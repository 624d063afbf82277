"""The page, Binance's interfaces over the candles, and the time machine over Raw. It reads, and writes nothing.

It may import `config`, `schemas`, `ddl`, and what `series` declares. Rooms, each of which may import those before it:
`market_data`; `parameters`; `rest`; `live`, `page_api`, `replay`, `udf`; `guard`; then the application and its server.
"""
