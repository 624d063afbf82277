"""Polls `fetch_trades` of an exchange whose streams ccxt does not support."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from config.process.retry import FIRST_S, pause_s
from producers.ccxt.rest_trades import RestTrades, UnseenTrades
from producers.exchanges.model import NO_TRADES, Control, RestError, Trades
from producers.rest.client import BusyError
from producers.stream.context import StreamContext
from producers.stream.symbol_states import SymbolState, SymbolStatus, SymbolStatuses
from producers.venue_limits import VenueUnavailableError

_UP = frozenset((SymbolState.ACKNOWLEDGED, SymbolState.STREAMING))
_log = structlog.get_logger(__name__)


class CcxtPolling:
    """Polls each symbol in turn."""

    def __init__(self, rest: RestTrades, context: StreamContext, listed: Sequence[str], pause_s: float) -> None:
        """Polls nothing yet. `listed`: the symbols, which may change later. `pause_s`: between two rounds."""
        self._rest, self._context, self._listed, self._pause_s = rest, context, listed, pause_s
        self._unseen = UnseenTrades()
        self._statuses = SymbolStatuses(listed, context.options.silent_s)
        # By symbol whose last request failed: failures in a row, and time of the next try on the monotonic clock, s.
        self._tries: dict[str, int] = {}
        self._due_s: dict[str, float] = {}
        self._end = asyncio.Event()
        self._log = _log.bind(exchange=context.exchange.code)

    @property
    def ready(self) -> bool:
        """Whether the last request of each symbol was answered, at least one of them with trades."""
        states = {self._statuses.state(symbol) for symbol in self._listed}
        return SymbolState.SUBSCRIBING not in states and not states.isdisjoint(_UP)

    def statuses(self) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        return self._statuses.now(time.monotonic())

    def watch(self, symbols: Sequence[str]) -> None:
        """Give each of these symbols a status. `run` polls the symbols of the list that it was made with."""
        for symbol in symbols:
            if not self._statuses.knows(symbol):
                self._statuses.add(symbol)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set. Answers that have arrived by then are still published.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        self._end = stop
        polling = asyncio.ensure_future(self._for_ever())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([polling, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (polling, stopping):
                task.cancel()
            (ended, _) = await asyncio.gather(polling, stopping, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended

    async def _for_ever(self) -> None:
        while not self._end.is_set():
            for symbol in [*self._listed]:
                if self._due_s.get(symbol, 0.0) <= time.monotonic():
                    await self._poll_once(symbol)
            await asyncio.sleep(self._pause_s)

    async def _poll_once(self, symbol: str) -> None:
        """Poll one symbol. A symbol that the exchange refuses does not hold up the others."""
        options = self._context.options
        try:
            await self._poll(symbol)
        except (RestError, VenueUnavailableError) as error:
            is_refusal = isinstance(error, RestError) and not isinstance(error, BusyError)
            if is_refusal:
                self._statuses.refused(symbol, str(error))
            else:
                self._statuses.unanswered(symbol, str(error))
            tries = self._tries[symbol] = self._tries.get(symbol, 0) + 1
            longest_s = options.refused_s if is_refusal else options.back_off_s
            wait_s = pause_s(FIRST_S, tries - 1, longest_s)
            self._due_s[symbol] = time.monotonic() + wait_s
            self._log.info("polling again", symbol=symbol, attempt=tries, wait_s=round(wait_s, 2), error=str(error))
            return
        self._tries.pop(symbol, None)
        self._due_s.pop(symbol, None)

    async def _poll(self, symbol: str) -> None:
        try:
            body, trades = await self._rest.poll(symbol)
        except (RestError, VenueUnavailableError):
            if self._statuses.state(symbol) in _UP:
                self._broke([symbol])
            raise
        new, hole = self._unseen.of(symbol, trades)
        if hole:
            self._broke([symbol])
        self._rest.streamed(new)
        parsed = Trades(new) if new else Control(NO_TRADES)
        taking = asyncio.ensure_future(self._context.frames.take_parsed(body, parsed))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            await taking
            raise
        self._statuses.observe(new)
        is_back = self._statuses.state(symbol) not in _UP
        self._statuses.acknowledged(symbol, time.monotonic())
        if is_back:
            self._context.losses.resumed([symbol])

    def _broke(self, symbols: Sequence[str]) -> None:
        self._statuses.lost(symbols)
        self._context.losses.lost(symbols)
