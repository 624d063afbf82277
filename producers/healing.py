"""Fills gaps over REST through the same publisher, and tells what is missing while it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from producers import metrics
from producers.connection import Limits
from producers.exchanges.model import Exchange, Trade
from producers.exchanges.rest import Span
from producers.gaps import HEALED, OPEN, UNFILLABLE, ConsecutiveIds, Gap, Overlap
from producers.rest import FAILURES, TradesSource

_TICK_S = 0.05
_BACK_OFF_S = 60.0
#: A longer hole is no task for REST: `medallion backfill` takes the exchange's dumps.
MOST_IDS = 1_000_000
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class GapReport:
    """Counts of trades, and of gaps by their state."""

    found: int = 0
    healed: int = 0
    unfillable: int = 0
    gaps: int = 0
    open: int = 0


class Healer:
    """The gaps of one exchange code."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        limits: Limits,
        client: TradesSource | None,
        publish: Callable[[Sequence[Trade]], Awaitable[None]],
        note: Callable[[Gap], None],
    ) -> None:
        """`publish` takes trades that REST brought; `note` is told of a gap whenever its state changes.

        `client` None: gaps are found and stay open.
        """
        self.report = GapReport()
        self._code = exchange.code
        self._limits = limits
        self._client = client
        self._publish = publish
        self._note = note
        self._gaps: list[Gap] = []
        self._overlap = Overlap() if exchange.ids_of is None else None
        self._detector = self._overlap or ConsecutiveIds(exchange)
        self._audits = dict.fromkeys(symbols, time.monotonic() + limits.audit_s)
        self._log = _log.bind(exchange=exchange.code)

    @property
    def gaps(self) -> list[Gap]:
        """Those that are open."""
        return [gap for gap in self._gaps if gap.state == OPEN]

    def observe(self, trades: Sequence[Trade]) -> None:
        """Trades that the stream brought."""
        for gap in self._detector.observe(trades):
            self._opened(gap)

    def lost(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols broke."""
        if self._overlap is not None:
            for symbol in symbols:
                self._overlap.interrupted(symbol)

    def resumed(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols is back."""
        self._audits.update(dict.fromkeys(symbols, time.monotonic() + self._limits.heal_after_s))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            PublishError: the publisher cannot go on.
        """
        while not stop.is_set():
            now_s = time.monotonic()
            for gap in [gap for gap in self._gaps if gap.state == OPEN and gap.due_s <= now_s]:
                if not stop.is_set():
                    await self._heal(gap)
            self._settle()
            if self._overlap is not None and self._client is not None:
                for symbol in [symbol for symbol, due_s in self._audits.items() if due_s <= now_s]:
                    if not stop.is_set():
                        await self._audit(symbol, self._overlap, self._client)
            await asyncio.sleep(_TICK_S)

    def end(self) -> None:
        """Tell the last state of what is still open."""
        self._settle()
        for gap in self._gaps:
            self._note(gap)

    def _opened(self, gap: Gap) -> None:
        self._log.warning("gap", symbol=gap.symbol, first=gap.from_id, last=gap.to_id, trades=gap.found)
        self.report.gaps += 1
        self.report.found += gap.found
        metrics.GAP_FOUND.labels(self._code).inc(gap.found)
        gap.due_s = time.monotonic() + self._limits.heal_after_s
        self._gaps.append(gap)
        self._note(gap)
        self._show()

    async def _heal(self, gap: Gap) -> None:
        ids = gap.ids
        if ids is None or not ids.count:
            return
        age_s = time.time() - gap.detected_us / 1e6
        if age_s > self._limits.heal_for_s or ids.count > MOST_IDS:
            gap.state = UNFILLABLE
            return
        gap.tries += 1
        gap.due_s = time.monotonic() + min(self._limits.heal_after_s * 2**gap.tries, _BACK_OFF_S)
        if self._client is None:
            return
        try:
            async for page in self._client.pages(gap.symbol, Span(ids.first, ids.last, gap.from_us)):
                # What is around the gap was published; where one message stands for several trades, as another trade.
                wanted = [trade for trade in page if ids.has(int(trade.trade_id))]
                if wanted:
                    await self._publish(wanted)
                    self._detector.observe(wanted)
        except FAILURES as error:
            self._log.warning("gap not healed yet", symbol=gap.symbol, error=str(error) or type(error).__name__)

    async def _audit(self, symbol: str, overlap: Overlap, client: TradesSource) -> None:
        self._audits[symbol] = time.monotonic() + self._limits.audit_s
        try:
            async for page in client.pages(symbol, Span(0, 0, 0)):
                lost, gaps = overlap.compare(symbol, page)
                for gap in gaps:
                    self._opened(gap)
                if lost:
                    await self._publish(lost)
                    overlap.observe(lost)
                for gap in gaps:
                    if gap.state == OPEN:
                        gap.state, gap.healed_us = HEALED, time.time_ns() // 1_000
        except FAILURES as error:
            self._log.warning("trades not compared", symbol=symbol, error=str(error) or type(error).__name__)
            self._audits[symbol] = time.monotonic() + min(self._limits.audit_s, _BACK_OFF_S)
        self._settle()

    def _settle(self) -> None:
        """Gaps that are over leave the list, so that it does not grow with the run."""
        over = [gap for gap in self._gaps if gap.state != OPEN]
        if not over:
            return
        self._gaps = [gap for gap in self._gaps if gap.state == OPEN]
        for gap in over:
            healed = gap.found - gap.missing
            self.report.healed += healed
            self.report.unfillable += gap.missing
            metrics.GAP_HEALED.labels(self._code).inc(healed)
            metrics.GAP_UNFILLABLE.labels(self._code).inc(gap.missing)
            say = self._log.info if gap.state == HEALED else self._log.error
            say("gap over", symbol=gap.symbol, state=gap.state, healed=healed, missing=gap.missing)
            self._note(gap)
        self._show()

    def _show(self) -> None:
        self.report.open = len(self._gaps)
        metrics.GAPS_OPEN.labels(self._code).set(len(self._gaps))
        metrics.GAP_OPEN.labels(self._code).set(sum(gap.missing for gap in self._gaps))
