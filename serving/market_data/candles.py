"""Candles of an interval, as rows of ClickHouse and as Binance's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from config.valid_times import END_US
from serving.market_data.amounts import amount
from serving.market_data.buyers import TRADES, Buyers
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.hot_start import HotStart
from serving.market_data.intervals import Interval

# So long after its end a candle stays open without a later trade, as in the candle views (ddl/_candles.sql).
GRACE_SECONDS = 60
# s since the epoch, exclusive.
END_OF_TIME = END_US // 1_000_000
# The view of hot candles that ClickHouse plans fastest.
ALL_FRAMES = "candles_as_text"
Market = tuple[str, str]


@dataclass(frozen=True)
class _Wanted:
    """The interval and the markets of the wanted candles, and whether `is_closed` and the like are wanted."""

    interval: Interval
    markets: tuple[Market, ...]
    with_state: bool


class Candles:
    """Reads candles from the hot tables, and from Iceberg for times that have left them."""

    def __init__(self, reader: HotReader) -> None:
        self._reader = reader
        self._hot_start = HotStart(reader)
        self._buyers = Buyers(reader, self._hot_start)

    async def rows(
        self,
        interval: Interval,
        markets: Sequence[Market],
        limit: int,
        start: int | None = None,
        end: int | None = None,
        *,
        with_state: bool,
    ) -> list[Row]:
        """At most `limit` candles of markets (exchange, symbol), by time.

        Args:
            interval: of the candles.
            markets: exchange and canonical symbol of each market.
            limit: the first ones if `start` is given, else the last ones.
            start: windows that start at or after it, ms since the epoch.
            end: windows that start at or before it, ms since the epoch.
            with_state: with `is_closed`, `is_complete` and `is_backfilled`.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        since = 0 if start is None else _first_from(interval, start)
        until = END_OF_TIME if end is None else interval.end(interval.start(end // 1000))
        left = await self._hot_start.hot_since(interval.base.view)
        # The first window that is wholly in the hot tables.
        hot_since = interval.end(interval.start(left - 1)) if left else 0
        wanted = _Wanted(interval, tuple(markets), with_state)
        if since >= hot_since:
            return await self._ask(wanted, limit, since, until, is_latest=start is None)
        if start is not None:
            return await self._cold(wanted, limit, since, until, is_latest=False)
        found = await self._ask(wanted, limit, hot_since, until, is_latest=True)
        if len(found) == limit:
            return found
        ends = min(hot_since, until)
        return await self._cold(wanted, limit - len(found), since, ends, is_latest=True) + found

    async def _cold(self, wanted: _Wanted, limit: int, since: int, until: int, *, is_latest: bool) -> list[Row]:
        """Candles of both tiers. A short span is read first, which is enough if no window is empty; then all."""
        page = limit * wanted.interval.seconds
        near = (max(since, until - page), until) if is_latest else (since, min(until, since + page))
        if page and near != (since, until):
            found = await self._ask(wanted, limit, *near, is_latest=is_latest, is_cold=True)
            if len(found) == limit:
                return found
        return await self._ask(wanted, limit, since, until, is_latest=is_latest, is_cold=True)

    async def _ask(
        self, wanted: _Wanted, limit: int, since: int, until: int, *, is_latest: bool, is_cold: bool = False
    ) -> list[Row]:
        interval = wanted.interval
        found = await self._reader.rows(
            "klines",
            {"markets": wanted.markets, "from": since, "until": until, "limit": limit},
            view=_view(interval, is_cold=is_cold, with_state=wanted.with_state),
            is_cold=is_cold,
            base_seconds=interval.base.seconds,
            grace_seconds=GRACE_SECONDS,
            seconds=interval.seconds,
            offset=interval.offset,
            direction="DESC" if is_latest else "ASC",
            with_state=wanted.with_state,
        )
        return sorted(found, key=lambda row: row["opened"])

    async def add_buyers(self, interval: Interval, rows: Sequence[Row]) -> None:
        """Set `buy_quote_volume` of each candle: see `Buyers.add`."""
        await self._buyers.add(interval, rows)

    async def trades_since(self, second: int) -> str:
        """The name of the table or view that has all trades from a time on (s since the epoch).

        Raises:
            ApiError: ClickHouse does not answer.
        """
        is_hot = second >= await self._hot_start.hot_since(TRADES)
        return TRADES if is_hot else f"{TRADES}_all"


def _view(interval: Interval, *, is_cold: bool, with_state: bool) -> str:
    if is_cold:
        return f"{interval.base.exact_view}_all"
    return interval.base.exact_view if with_state else ALL_FRAMES


def _first_from(interval: Interval, start_ms: int) -> int:
    """The first start of a window at or after a time (ms); s since the epoch."""
    second = -(-start_ms // 1000)
    window = interval.start(second)
    return window if window == second else interval.end(window)


def mark_closed(interval: Interval, rows: Sequence[Row], now: float) -> None:
    """Set `is_closed` of a market's candles: the window is over, and there is a later candle or a minute has passed.

    Args:
        interval: of the candles.
        rows: all candles of the market from some window on, by time.
        now: s since the epoch.
    """
    for number, row in enumerate(rows, 1):
        ends = interval.end(row["opened"])
        row["is_closed"] = ends <= now and (number < len(rows) or ends + GRACE_SECONDS <= now)


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
