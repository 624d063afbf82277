"""Candles of an interval, as rows of ClickHouse and as Binance's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.amounts import amount
from serving.intervals import Interval
from serving.warehouse import Row, Warehouse

# A market may still send a trade of a window that is over: as long as the candle views wait (ddl/_candles.sql).
_GRACE_SECONDS = 60
# 2200-01-01, s: no layer holds a later time.
END_OF_TIME = 7_258_118_400
# What a candle's taker-buy quote volume is where Silver has let the trades go and Gold does not keep it.
UNKNOWN = "NaN"
Market = tuple[str, str]


async def candles(
    warehouse: Warehouse,
    interval: Interval,
    markets: Sequence[Market],
    limit: int,
    start: int | None = None,
    end: int | None = None,
) -> list[Row]:
    """At most `limit` candles of markets (exchange, symbol), by time.

    Args:
        warehouse: where to ask.
        interval: of the candles.
        markets: whose.
        limit: the first ones where `start` is given, else the last ones.
        start: windows that start at or after it, ms since the epoch.
        end: windows that start at or before it, ms since the epoch.

    Raises:
        ApiError: ClickHouse does not answer.
    """
    found = await warehouse.rows(
        "klines",
        {
            "markets": markets,
            "from": 0 if start is None else _first_from(interval, start),
            "until": END_OF_TIME if end is None else interval.end(interval.start(end // 1000)),
            "limit": limit,
        },
        view=interval.base.exact_view,
        base_seconds=interval.base.seconds,
        grace_seconds=_GRACE_SECONDS,
        seconds=interval.seconds,
        offset=interval.offset,
        direction="DESC" if start is None else "ASC",
    )
    return sorted(found, key=lambda row: row["opened"])


def _first_from(interval: Interval, start_ms: int) -> int:
    """The first start of a window at or after a time."""
    second = -(-start_ms // 1000)
    window = interval.start(second)
    return window if window == second else interval.end(window)


async def add_buyers(warehouse: Warehouse, interval: Interval, rows: Sequence[Row]) -> None:
    """Give each candle `buy_quote_volume`, from the trades themselves: Gold does not keep it.

    Raises:
        ApiError: ClickHouse does not answer.
    """
    if not rows:
        return
    found = await warehouse.rows(
        "buyers",
        {
            "markets": sorted({(row["exchange"], row["symbol"]) for row in rows}),
            "from": rows[0]["opened"],
            "until": interval.end(rows[-1]["opened"]),
        },
        seconds=interval.seconds,
        offset=interval.offset,
    )
    by_window = {(row["exchange"], row["symbol"], row["opened"]): row for row in found}
    for row in rows:
        of_trades = by_window.get((row["exchange"], row["symbol"], row["opened"]))
        is_whole = of_trades is not None and of_trades["trade_count"] == row["trade_count"]
        row["buy_quote_volume"] = amount(of_trades["buy_quote_volume"]) if of_trades and is_whole else UNKNOWN


def kline(interval: Interval, row: Row) -> list[Any]:
    """A candle as in `/api/v3/klines`; times in ms, the end inclusive."""
    return [
        row["opened"] * 1000,
        *(amount(row[name]) for name in ("open", "high", "low", "close", "volume")),
        interval.end(row["opened"]) * 1000 - 1,
        amount(row["quote_volume"]),
        row["trade_count"],
        amount(row["buy_volume"]),
        row["buy_quote_volume"],
        "0",
    ]
