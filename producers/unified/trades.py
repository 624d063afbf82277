"""REST trades of a ccxt exchange: pages for healing, and a look every now and then where there is no stream."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ccxt import BaseError

from producers import metrics
from producers.exchanges.model import Trade
from producers.exchanges.rest import RestError, Span
from producers.guard import Guard

_PAGES = 100
_REMEMBERED = 5_000
#: Trade id to time and price.
Known = OrderedDict[str, tuple[str, str]]
Rows = list[dict[str, Any]]


class RestTrades:
    """`fetch_trades` of one exchange, one request at a time."""

    def __init__(self, code: str, venue: Any, guard: Guard) -> None:
        """`venue` from `producers.unified.venue.make`."""
        self._code = code
        self._venue = venue
        self._guard = guard
        self._turn = asyncio.Lock()
        #: By symbol and trade id: time and price of what the stream brought.
        self._streamed: dict[str, Known] = {}
        #: By symbol: the newest trade (ms, UTC) before the stream broke.
        self._broken_ms: dict[str, int] = {}

    def streamed(self, trades: Sequence[Trade]) -> None:
        """Trades that did not come from here."""
        for trade in trades:
            known = self._streamed.setdefault(trade.symbol, Known())
            known[trade.trade_id] = trade.timestamp, trade.price
            if len(known) > _REMEMBERED:
                known.popitem(last=False)

    def interrupted(self, symbol: str) -> None:
        """The stream broke: the next `pages` reach back to its last trade if the exchange does."""
        moments = [int(moment) for moment, _ in self._streamed.get(symbol, {}).values() if moment]
        if moments:
            self._broken_ms.setdefault(symbol, max(moments))

    async def newest(self, symbol: str) -> tuple[bytes, list[Trade]]:
        """The answer's body and its trades, oldest first.

        Raises:
            RestError: the exchange cannot be asked, or answers something else; VenueUnavailableError: it is left alone.
        """
        async with self._turn:
            rows = await self._fetch(symbol, None)
            body, trades = self._venue.answered(rows)
            return body, trades

    async def pages(self, symbol: str, span: Span) -> AsyncIterator[list[Trade]]:
        """The newest trades, and those before them since the stream broke, as one page, oldest first.

        Raises:
            RestError: also where none of them is a trade that the stream brought: some exchanges number the trades
                of the two differently (Binance's REST sums several up), and those would be published twice.
            VenueUnavailableError: the exchange is left alone.
        """
        del span  # ids of an exchange that we do not know may have no order
        async with self._turn:
            rows = await self._fetch(symbol, None)
            trades: list[Trade] = self._venue.answered(rows)[1]
            broken_ms = self._broken_ms.get(symbol)
            if broken_ms is not None and rows and rows[0]["timestamp"] > broken_ms:
                trades = await self._before(symbol, broken_ms, rows[0]["timestamp"]) + trades
        known = self._streamed.get(symbol)
        if known and not any(known.get(trade.trade_id) == (trade.timestamp, trade.price) for trade in trades):
            raise RestError("none of REST's trades is one of the stream's: their ids differ, or it lags behind")
        self._broken_ms.pop(symbol, None)
        yield [*{_identity(trade): trade for trade in trades}.values()]

    async def _before(self, symbol: str, since_ms: int, until_ms: int) -> list[Trade]:
        found: list[Trade] = []
        for _ in range(_PAGES):
            rows = [row for row in await self._fetch(symbol, since_ms) if row["timestamp"] >= since_ms]
            found += self._venue.answered(rows)[1]
            # An exchange that ignores `since` answers with its newest trades.
            if not rows or rows[-1]["timestamp"] in {since_ms, None} or rows[-1]["timestamp"] >= until_ms:
                break
            since_ms = rows[-1]["timestamp"]
        return found

    async def _fetch(self, symbol: str, since_ms: int | None) -> Rows:
        try:
            async with self._guard.requesting():
                rows: Rows = await self._venue.fetch_trades(symbol, since_ms)
        except BaseError as error:
            metrics.REST_REQUESTS.labels(self._code, type(error).__name__).inc()
            raise RestError(f"{type(error).__name__}: {error}") from error
        # A class of ccxt that does not know an answer's shape.
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            metrics.REST_REQUESTS.labels(self._code, "unreadable").inc()
            raise RestError(f"unreadable answer ({error!r})") from error
        metrics.REST_REQUESTS.labels(self._code, "200").inc()
        return sorted((row for row in rows if row.get("timestamp") is not None), key=_moment)


class Unseen:
    """What of REST's newest trades no earlier look brought."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self._seen: dict[str, OrderedDict[tuple[str, ...], None]] = {}

    def of(self, symbol: str, trades: Sequence[Trade]) -> tuple[list[Trade], bool]:
        """The new ones, and whether there may be others between them and those seen before."""
        seen = self._seen.setdefault(symbol, OrderedDict())
        new = [trade for trade in trades if _identity(trade) not in seen]
        hole = bool(seen) and bool(new) and len(new) == len(trades)
        for trade in new:
            seen[_identity(trade)] = None
        while len(seen) > max(_REMEMBERED, len(trades)):
            seen.popitem(last=False)
        return new, hole


def _moment(row: Mapping[str, Any]) -> int:
    return int(row["timestamp"])


def _identity(trade: Trade) -> tuple[str, ...]:
    """Some exchanges number no trades."""
    return (trade.trade_id,) if trade.trade_id else (trade.timestamp, trade.price, trade.quantity, trade.side)
