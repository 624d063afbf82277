"""The page, Binance's and TradingView's interfaces, and the time machine over Raw. This package only reads.

It may import `config`, `schemas`, `ddl`, and of `series` declarations and causes. A room may import those before it:
`market_data`; `parameters`; `rest`; `live`, `page_api`, `replay`, `udf`; `guard`; then the application and its server.
"""
