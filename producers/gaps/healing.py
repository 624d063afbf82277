"""Fills gaps over REST through the same publisher, and tells what is missing while it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from producers import metrics
from producers.counters import GapReport
from producers.exchanges.model import Exchange, Span, Trade
from producers.gaps.consecutive_ids import ConsecutiveIds
from producers.gaps.gap import HEALED, OPEN, UNFILLABLE, Gap
from producers.gaps.overlap import Overlap
from producers.gaps.resume import Earlier
from producers.options import Limits
from producers.rest.client import FAILURES, TradesSource, UnknownError
from producers.timestamps import now_us

_TICK_S = 0.05
_BACK_OFF_S = 60.0
#: Gaps, and symbols that are compared, at a time; the rate limit is shared by them.
_AT_ONCE = 4
#: A longer hole is no task for REST: `medallion backfill` takes the exchange's dumps.
MOST_IDS = 1_000_000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a healer makes of its findings."""

    #: Takes trades that REST brought.
    publish: Callable[[Sequence[Trade]], Awaitable[None]]
    #: Told of a gap whenever its state changes.
    note: Callable[[Gap], None]
    #: Told of symbols that trade on while their stream brings nothing.
    stale: Callable[[Sequence[str]], None]
    #: Told of a symbol that REST does not know, in the exchange's words.
    unknown: Callable[[str, str], None] = lambda _symbol, _words: None


class Healer:
    """The gaps of one exchange code."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        limits: Limits,
        client: TradesSource | None,
        callbacks: Callbacks,
    ) -> None:
        """`client` None: gaps are found and stay open."""
        self.report = GapReport()
        self._code = exchange.code
        self._limits = limits
        self._client = client
        self._callbacks = callbacks
        self._gaps: list[Gap] = []
        self._detector: ConsecutiveIds | Overlap = Overlap() if exchange.ids_of is None else ConsecutiveIds(exchange)
        # Ids that have no order show nothing by themselves: every symbol is compared, not only those that are quiet.
        self._is_always = exchange.ids_of is None
        self._pause_s = limits.audit_s if self._is_always else limits.quiet_s
        self._looks = dict.fromkeys(symbols, time.monotonic() + self._pause_s) if self._pause_s else {}
        self._positions: dict[str, int | None] = {}
        self._tasks: dict[Gap | str, asyncio.Task[None]] = {}
        self._log = _log.bind(exchange=exchange.code)

    @property
    def gaps(self) -> list[Gap]:
        """Those that are open."""
        return [gap for gap in self._gaps if gap.state == OPEN]

    def observe(self, trades: Sequence[Trade]) -> None:
        """Trades that the stream brought."""
        for gap in self._detector.observe(trades):
            self._opened(gap)

    def resume(self, earlier: Earlier) -> None:
        """Go on where earlier lives of this producer ended."""
        for gaps in earlier.open.values():
            for gap in gaps:
                self._opened(gap)
        for symbol in earlier.published.keys() | earlier.open.keys():
            left_open = earlier.open.get(symbol, [])
            for gap in self._detector.resume(symbol, earlier.published.get(symbol, []), left_open):
                self._opened(gap)
        for symbol in earlier.unknown:
            self._log.warning("no trade found that was published before: a hole before this start is not noticed",
                              symbol=symbol)  # fmt: skip
        # A symbol that stays quiet would not show what it traded in between.
        due_s = time.monotonic() + self._limits.heal_after_s
        for symbol in earlier.published if self._looks else ():
            self._looks[symbol], self._positions[symbol] = due_s, self._detector.position(symbol)

    def lost(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols broke."""
        if isinstance(self._detector, Overlap):
            for symbol in symbols:
                self._detector.interrupted(symbol)

    def resumed(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols is there, or back."""
        if isinstance(self._detector, Overlap):
            self._detector.restored(symbols)
            self._looks.update(dict.fromkeys(symbols, time.monotonic() + self._limits.heal_after_s))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            PublishError: the publisher cannot go on.
        """
        try:
            while not stop.is_set():
                now_s = time.monotonic()
                self._give_up()
                if self._client is not None:
                    for gap in [gap for gap in self.gaps if gap.ids is not None and gap.due_s <= now_s]:
                        self._start(gap, _AT_ONCE, partial(self._heal, gap, self._client))
                    for symbol in [symbol for symbol, due_s in self._looks.items() if due_s <= now_s]:
                        self._start(symbol, _AT_ONCE // 2, partial(self._look, symbol, self._client))
                self._finish()
                self._settle()
                await asyncio.sleep(_TICK_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def end(self) -> None:
        """Tell the last state of what is still open."""
        self._settle()
        for gap in self._gaps:
            self._callbacks.note(gap)

    def _start(self, what: Gap | str, most: int, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Unless it is under way, or as much as REST should be asked at once."""
        if what not in self._tasks and len(self._tasks) < most:
            self._tasks[what] = asyncio.ensure_future(work())

    def _finish(self) -> None:
        for what in [what for what, task in self._tasks.items() if task.done()]:
            self._tasks.pop(what).result()

    def _opened(self, gap: Gap) -> None:
        self._log.warning("gap", symbol=gap.symbol, first=gap.from_id, last=gap.to_id, trades=gap.found)
        self.report.gaps += 1
        self.report.found += gap.found
        metrics.GAP_FOUND.labels(self._code).inc(gap.found)
        gap.due_s = time.monotonic() + self._limits.heal_after_s
        self._gaps.append(gap)
        self._callbacks.note(gap)
        self._show()

    def _give_up(self) -> None:
        """Gaps that nobody fills any more, or that are no task for REST."""
        for gap in self.gaps:
            is_old = time.monotonic() - gap.since_s > self._limits.heal_for_s
            if gap.ids is not None and gap not in self._tasks and (is_old or gap.ids.count > MOST_IDS):
                gap.state = UNFILLABLE

    async def _heal(self, gap: Gap, client: TradesSource) -> None:
        ids = gap.ids
        if ids is None or not ids.count:
            return
        gap.tries += 1
        try:
            async for page in client.pages(gap.symbol, Span(ids.first, ids.last, gap.from_us)):
                # What is around the gap was published; where one message stands for several trades, as another trade.
                await self._bring([trade for trade in page if ids.has(int(trade.trade_id))])
        except FAILURES as error:
            self._log.warning("gap not healed yet", symbol=gap.symbol, error=str(error) or type(error).__name__)
        finally:
            gap.due_s = time.monotonic() + min(self._limits.heal_after_s * 2**gap.tries, _BACK_OFF_S)

    async def _look(self, symbol: str, client: TradesSource) -> None:
        """Compare with the exchange's newest trades: the next message may be long in coming, or never come."""
        self._looks[symbol] = time.monotonic() + self._pause_s
        before, self._positions[symbol] = self._positions.get(symbol), self._detector.position(symbol)
        is_quiet = self._positions[symbol] == before
        if not is_quiet and not self._is_always:
            return
        try:
            newest = await client.newest(symbol, self._detector.broken_us(symbol))
        except UnknownError as error:
            self._callbacks.unknown(symbol, str(error))
            self._log.warning("trades not compared", symbol=symbol, error=str(error))
            return
        except FAILURES as error:
            self._log.warning("trades not compared", symbol=symbol, error=str(error) or type(error).__name__)
            return
        # The stream may be a little behind.
        await asyncio.sleep(self._limits.heal_after_s)
        lost, gaps = self._detector.compare(symbol, newest, is_quiet=is_quiet)
        for gap in gaps:
            self._opened(gap)
        await self._bring(lost)
        for gap in gaps:
            if gap.ids is None and gap.state == OPEN:
                gap.state, gap.healed_us = HEALED, now_us()
        if is_quiet and gaps:
            self._callbacks.stale([symbol])

    async def _bring(self, trades: Sequence[Trade]) -> None:
        """Publish what REST brought; what was begun is ended, also when the producer stops."""
        if not trades:
            return
        publishing = asyncio.ensure_future(self._callbacks.publish(trades))
        try:
            await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await publishing
            raise
        finally:
            if publishing.done() and not publishing.cancelled() and publishing.exception() is None:
                self._detector.fill(trades)

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
            self._callbacks.note(gap)
        self._show()

    def _show(self) -> None:
        self.report.open = len(self._gaps)
        metrics.GAPS_OPEN.labels(self._code).set(len(self._gaps))
        metrics.GAP_OPEN.labels(self._code).set(sum(gap.missing for gap in self._gaps))
