"""`fetch_trades` again and again, of an exchange for which ccxt has no stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from producers.backoff import retrying
from producers.exchanges.model import NO_TRADES, Control, Trades
from producers.exchanges.rest import RestError
from producers.guard import VenueUnavailableError
from producers.unified.stream import Feeding
from producers.unified.trades import RestTrades, Unseen

_log = structlog.get_logger(__name__)


class Polling:
    """Each symbol in turn."""

    def __init__(self, rest: RestTrades, feeding: Feeding, pause_s: float) -> None:
        """Waits `pause_s` between two rounds."""
        self._rest, self._feeding, self._pause_s = rest, feeding, pause_s
        self._unseen = Unseen()
        self._failing: set[str] = {*feeding.symbols}
        self._end = asyncio.Event()
        self._log = _log.bind(exchange=feeding.exchange.code)

    @property
    def ready(self) -> bool:
        """The last request of each symbol was answered."""
        return not self._failing

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; what was answered by then is still taken.

        Raises:
            PublishError: from `take`: the publisher cannot go on.
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
            for symbol in self._feeding.symbols:
                await retrying(
                    (RestError, VenueUnavailableError),
                    self._feeding.limits.back_off_s,
                    self._end,
                    self._log.bind(symbol=symbol),
                    "asking again",
                )(self._poll, symbol)
            await asyncio.sleep(self._pause_s)

    async def _poll(self, symbol: str) -> None:
        try:
            body, trades = await self._rest.newest(symbol)
        except (RestError, VenueUnavailableError):
            if symbol not in self._failing:
                self._broke([symbol])
            raise
        new, hole = self._unseen.of(symbol, trades)
        if hole:
            self._broke([symbol])
        taking = asyncio.ensure_future(self._feeding.take(body, Trades(new) if new else Control(NO_TRADES)))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            await taking
            raise
        if symbol in self._failing:
            self._failing.discard(symbol)
            self._feeding.resumed([symbol])

    def _broke(self, symbols: Sequence[str]) -> None:
        self._failing.update(symbols)
        self._feeding.lost(symbols)
