"""The last price of every market, and its last 24 hours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from serving.market_data.amounts import amount, average, change, percent
from serving.market_data.hot_reader import HotReader, Row

_HALF_HOUR = 1_800
_DAY = 86_400


def day_start(now: float) -> int:
    """24 hours before `now`, rounded down to the half hour; seconds since the epoch."""
    return int(now - _DAY) // _HALF_HOUR * _HALF_HOUR


async def prices(reader: HotReader, exchanges: Sequence[str], symbol: str = "") -> list[Row]:
    """Rows of exchange, symbol, last_price.

    Raises:
        ApiError: ClickHouse does not answer.
    """
    return await reader.rows("prices", {"exchanges": exchanges, "symbol": symbol})


async def tickers(reader: HotReader, exchanges: Sequence[str], symbol: str = "") -> list[Row]:
    """One row for each market with a trade: exchange, symbol and Binance's fields of `/ticker/24hr`.

    Fields that need an order book (bid, ask) or that Gold does not keep are left out. A market without a trade in these
    hours has its last price, and 0 for amounts and changes.

    Raises:
        ApiError: ClickHouse does not answer.
    """
    now = time.time()
    since = day_start(now)
    last, hours = await reader.gather(
        prices(reader, exchanges, symbol),
        reader.rows("day", {"exchanges": exchanges, "symbol": symbol, "from": since}),
    )
    by_market = {(row["exchange"], row["symbol"]): row for row in hours}
    return [_ticker(row, by_market.get((row["exchange"], row["symbol"])), since, now) for row in last]


def _ticker(row: Row, hours: Row | None, since: int, now: float) -> Row:
    price = row["last_price"]
    quiet = {**dict.fromkeys(("open", "high", "low"), price), "volume": "0", "quote_volume": "0", "trade_count": 0}
    day: dict[str, Any] = hours or quiet
    return {
        "exchange": row["exchange"],
        "symbol": row["symbol"],
        "priceChange": change(price, day["open"]),
        "priceChangePercent": percent(price, day["open"]),
        "weightedAvgPrice": average(day["quote_volume"], day["volume"]),
        "lastPrice": amount(price),
        "openPrice": amount(day["open"]),
        "highPrice": amount(day["high"]),
        "lowPrice": amount(day["low"]),
        "volume": amount(day["volume"]),
        "quoteVolume": amount(day["quote_volume"]),
        "openTime": since * 1000,
        "closeTime": int(now * 1000),
        "count": day["trade_count"],
    }
