"""Requests trades from a ccxt exchange over REST, for healing and for polling."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import structlog

from producers.ccxt.rest_calls import call
from producers.ccxt.unified_trades import SUMMING, single_match_parameters
from producers.exchanges.model import RestError, Trade, TradeSpan
from producers.rest.client import retry_busy
from producers.venue_limits import VenueLimits

_PAGES = 100
_REMEMBERED = 5_000
# Time and price by trade id.
Known = OrderedDict[str, tuple[str, str]]
Rows = list[dict[str, Any]]
_log = structlog.get_logger(__name__)


class RestTrades:
    """Runs `fetch_trades` of one exchange, one request at a time. `async with` closes its connections."""

    def __init__(self, code: str, venue: Any, venue_limits: VenueLimits) -> None:
        """`venue` from `producers.ccxt.venue.make`."""
        self._code = code
        self._venue = venue
        self._venue_limits = venue_limits
        self._turn = asyncio.Lock()
        # By symbol and trade id: time and price of trades that the stream brought.
        self._streamed: dict[str, Known] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._venue.close()

    def resume(self, published: Mapping[str, Sequence[Trade]]) -> None:
        """Record trades, by symbol, that the streams of earlier runs of the producer brought."""
        for trades in published.values():
            self.streamed(trades)

    def streamed(self, trades: Sequence[Trade]) -> None:
        """Record trades that the stream brought."""
        for trade in trades:
            known = self._streamed.setdefault(trade.symbol, Known())
            known[trade.trade_id] = trade.timestamp, trade.price
            if len(known) > _REMEMBERED:
                known.popitem(last=False)

    async def pages(self, symbol: str, span: TradeSpan) -> AsyncIterator[list[Trade]]:
        """As `producers.rest.client.TradesSource.pages`, with the whole span in one page."""
        yield await self.newest(symbol, span.since_us)

    async def poll(self, symbol: str) -> tuple[bytes, list[Trade]]:
        """Request the newest trades. Returns the answer's body and its trades, oldest first.

        Raises:
            RestError: the request failed, or the answer is no list of trades.
            VenueUnavailableError: the circuit breaker is open.
        """
        async with self._turn:
            rows = await self._fetch(symbol, None)
            body, trades = self._venue.answered(rows)
            return body, trades

    async def newest(self, symbol: str, since_us: int | None = None) -> list[Trade]:
        """The newest trades, oldest first; from `since_us` (µs, UTC) on, if the exchange serves older ones.

        Raises:
            RestError: as in `poll`, and if the stream brought none of them. Some exchanges number trades differently
                in REST and stream (Binance's REST sums several up), and those would be published twice.
            VenueUnavailableError: the circuit breaker is open.
        """
        async with self._turn:
            rows = await self._fetch(symbol, None)
            trades: list[Trade] = self._venue.answered(rows)[1]
            begins_too_late = since_us is not None and rows and rows[0]["timestamp"] > since_us // 1_000
            if since_us is not None and begins_too_late and not await self._newest_only(symbol):
                trades = await self._before(symbol, since_us // 1_000, rows[0]["timestamp"]) + trades
        known = self._streamed.get(symbol)
        if known and not any(known.get(trade.trade_id) == (trade.timestamp, trade.price) for trade in trades):
            raise RestError("REST and the stream have no trade in common: their ids differ, or REST lags behind")
        if known:
            # These trades have the stream's ids. If they fill a gap, the next answer may overlap with them only.
            self.streamed(trades)
        return [*{_identity(trade): trade for trade in trades}.values()]

    async def _before(self, symbol: str, since_ms: int, until_ms: int) -> list[Trade]:
        """Trades from `since_ms` to `until_ms` (ms since the epoch); none if REST does not serve all of them."""
        trades: list[Trade] = []
        for _ in range(_PAGES):
            rows = [row for row in await self._fetch(symbol, since_ms) if row["timestamp"] >= since_ms]
            trades += self._venue.answered(rows)[1]
            # An exchange that ignores `since` sends its newest trades, which are later, too.
            if rows and rows[-1]["timestamp"] >= until_ms:
                return trades
            # If the last trade has the time from which the page begins, one millisecond has more trades than a page.
            if not rows or rows[-1]["timestamp"] == since_ms:
                break
            since_ms = rows[-1]["timestamp"]
        _log.warning("REST does not reach back without a hole", exchange=self._code, symbol=symbol, got=len(trades))
        return []

    async def _newest_only(self, symbol: str) -> dict[str, str]:
        """Parameters with which `fetchTrades` lists single matches, if it sums them up otherwise; {} if it does not.

        With them, the exchange serves only its newest trades.
        """
        if self._venue.family not in SUMMING:
            return {}
        await self._venue.load_markets()
        return single_match_parameters(self._venue.market(symbol))

    async def _fetch(self, symbol: str, since_ms: int | None) -> Rows:
        return await retry_busy(self._code)(self._fetch_once, symbol, since_ms)

    async def _fetch_once(self, symbol: str, since_ms: int | None) -> Rows:
        async def fetch() -> Rows:
            parameters = await self._newest_only(symbol)
            rows: Rows = await self._venue.fetch_trades(symbol, since_ms, params=parameters)
            return rows

        rows = await call(self._code, self._venue, self._venue_limits, fetch)
        return sorted((row for row in rows if row.get("timestamp") is not None), key=_moment)


class UnseenTrades:
    """Finds trades in a REST answer that no earlier answer had."""

    def __init__(self) -> None:
        """No answer is seen yet."""
        self._seen: dict[str, OrderedDict[tuple[str, ...], None]] = {}

    def of(self, symbol: str, trades: Sequence[Trade]) -> tuple[list[Trade], bool]:
        """The new trades, and whether trades between them and the earlier ones may be missing."""
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
    """The id of a trade, or its content if the exchange has no trade ids."""
    return (trade.trade_id,) if trade.trade_id else (trade.timestamp, trade.price, trade.quantity, trade.side)
