"""Series (docs/series.md): the venue's own candles and funding rates in Binance's format, the Fear & Greed index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from series.declaration import series_named
from serving.errors import invalid_interval
from serving.market_data.amounts import amount
from serving.market_data.buyers import UNKNOWN
from serving.market_data.candles import END_OF_TIME
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.intervals import Interval


async def venue_klines(
    reader: HotReader,
    exchange: str,
    symbol: str,
    interval: Interval,
    limit: int,
    start: int | None,
    end: int | None,
) -> list[list[Any]]:
    """The venue's own candles as in `/api/v3/klines`, by time. A missing volume is NaN, a missing count null.

    Args:
        limit: the first ones if `start` is given, else the last ones.
        start: windows that start at or after it, ms since the epoch.
        end: windows that start at or before it, ms since the epoch.

    Raises:
        ApiError: -1120, the series `bars` has no such frame; -1001 or -1007, ClickHouse does not answer.
    """
    if interval.code not in series_named("bars").frames:
        raise invalid_interval()
    market = {"exchange": exchange, "symbol": symbol, "frame": interval.code}
    rows = await _rows(reader, "venue_bars", market, limit, start, end)
    return [
        [
            row["opened"],
            *(amount(row[name]) for name in ("open", "high", "low", "close", "volume")),
            interval.end(row["opened"] // 1000) * 1000 - 1,
            _known(row["quote_volume"]),
            row["trade_count"],
            _known(row["buy_volume"]),
            UNKNOWN,
            "0",
        ]
        for row in rows
    ]


async def funding_rates(
    reader: HotReader, exchange: str, symbol: str, limit: int, start: int | None, end: int | None
) -> list[dict[str, Any]]:
    """Funding rates as in `/fapi/v1/fundingRate`, by time. `symbol` "": all markets. Other arguments: `venue_klines`.

    `markPrice` is "" if the venue does not publish it, as at Binance.

    Raises:
        ApiError: -1001 or -1007, ClickHouse does not answer.
    """
    rows = await _rows(reader, "funding_rates", {"exchange": exchange, "symbol": symbol}, limit, start, end)
    return [
        {
            "symbol": row["symbol"],
            "fundingRate": amount(row["rate"]),
            "fundingTime": row["time"],
            "markPrice": "" if row["mark_price"] is None else amount(row["mark_price"]),
        }
        for row in rows
    ]


async def fear_greed(reader: HotReader, limit: int, start: int | None, end: int | None) -> list[Row]:
    """The Fear & Greed index by day: `time` (ms), `value` (0 to 100), `classification`. Arguments: `venue_klines`.

    Raises:
        ApiError: -1001 or -1007, ClickHouse does not answer.
    """
    return await _rows(reader, "fear_greed", {}, limit, start, end)


async def _rows(
    reader: HotReader, name: str, market: Mapping[str, object], limit: int, start: int | None, end: int | None
) -> list[Row]:
    until = END_OF_TIME * 1000 if end is None else end
    parameters = {**market, "from": start or 0, "until": until, "limit": limit}
    is_latest = start is None
    rows = await reader.rows(name, parameters, direction="DESC" if is_latest else "ASC")
    return rows[::-1] if is_latest else rows


def _known(text: str | None) -> str:
    return UNKNOWN if text is None else amount(text)
