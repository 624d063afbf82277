"""Heals gaps over REST, and compares symbols with REST to find gaps that the stream alone does not show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

import structlog

from config.process.retry import pause_s
from producers.exchanges.model import Trade, TradeSpan, UnknownError
from producers.gaps.gap import OPEN, Gap
from producers.gaps.tracker import GapTracker
from producers.options import ProducerOptions
from producers.rest.client import FAILURES, TradesSource

_TICK_S = 0.05
_LONGEST_PAUSE_S = 60.0
# At most so many gaps and comparisons are worked on at once. They share the rate limit.
_AT_ONCE = 4
_log = structlog.get_logger(__name__)


class Healer:
    """Heals the gaps that a tracker knows."""

    def __init__(
        self,
        code: str,
        gaps: GapTracker,
        options: ProducerOptions,
        client: TradesSource | None,
        *,
        publish: Callable[[Sequence[Trade]], Awaitable[None]],
        stale: Callable[[Sequence[str]], None],
        unknown: Callable[[str, str], None],
    ) -> None:
        """Sends no request yet.

        Args:
            code: exchange code, for the log.
            gaps: the tracker of the gaps.
            options: `heal_after_s` is the shortest pause before a gap is tried again.
            client: the REST client; without one, gaps stay open.
            publish: publishes trades from REST.
            stale: called with symbols that REST has new trades of, but the stream has none.
            unknown: called with a symbol that REST does not know, and the exchange's message.
        """
        self._gaps = gaps
        self._options = options
        self._client = client
        self._publish, self._stale, self._unknown = publish, stale, unknown
        self._tasks: dict[Gap | str, asyncio.Task[None]] = {}
        self._log = _log.bind(exchange=code)

    async def run(self, stop: asyncio.Event) -> None:
        """Heal gaps until `stop` is set.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        try:
            while not stop.is_set():
                self._gaps.give_up(self._tasks.__contains__)
                if self._client is not None:
                    for gap in self._gaps.due_gaps():
                        self._start(gap, _AT_ONCE, partial(self._heal, gap, self._client))
                    for symbol in self._gaps.due_symbols():
                        self._start(symbol, _AT_ONCE // 2, partial(self._compare, symbol, self._client))
                self._finish()
                self._gaps.settle()
                await asyncio.sleep(_TICK_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, subject: Gap | str, most: int, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start the work on a gap or symbol, unless this work is under way or `most` tasks are."""
        if subject not in self._tasks and len(self._tasks) < most:
            self._tasks[subject] = asyncio.ensure_future(work())

    def _finish(self) -> None:
        """Remove tasks that have ended, and raise their errors."""
        for subject in [subject for subject, task in self._tasks.items() if task.done()]:
            self._tasks.pop(subject).result()

    async def _heal(self, gap: Gap, client: TradesSource) -> None:
        ids = gap.ids
        if ids is None or not ids.count:
            return
        gap.tries += 1
        try:
            async for page in client.pages(gap.symbol, TradeSpan(ids.first, ids.last, gap.from_us)):
                # Trades around the gap are published already, perhaps as a part of a summed trade.
                await self._publish_healed([trade for trade in page if ids.has(int(trade.trade_id))])
        except FAILURES as error:
            self._log.warning("gap not healed yet", symbol=gap.symbol, error=str(error) or type(error).__name__)
        finally:
            gap.due_s = time.monotonic() + pause_s(self._options.heal_after_s, gap.tries, _LONGEST_PAUSE_S)

    async def _compare(self, symbol: str, client: TradesSource) -> None:
        """Compare a symbol with the exchange's newest trades: its next message may come late, or never."""
        is_quiet = self._gaps.begin_comparison(symbol)
        if not is_quiet and not self._gaps.compares_always:
            return
        try:
            newest = await client.newest(symbol, self._gaps.broken_us(symbol))
        except UnknownError as error:
            self._unknown(symbol, str(error))
            self._log.warning("trades not compared", symbol=symbol, error=str(error))
            return
        except FAILURES as error:
            self._log.warning("trades not compared", symbol=symbol, error=str(error) or type(error).__name__)
            return
        # The stream may bring the newest trades a little later.
        await asyncio.sleep(self._options.heal_after_s)
        lost, gaps = self._gaps.compare(symbol, newest, is_quiet=is_quiet)
        await self._publish_healed(lost)
        for gap in gaps:
            if gap.ids is None and gap.state == OPEN:
                gap.mark_healed()
        if is_quiet and gaps:
            self._stale([symbol])

    async def _publish_healed(self, trades: Sequence[Trade]) -> None:
        """Publish trades from REST. Once begun, it finishes even if the producer stops."""
        if not trades:
            return
        publishing = asyncio.ensure_future(self._publish(trades))
        try:
            await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await publishing
            raise
        finally:
            if publishing.done() and not publishing.cancelled() and publishing.exception() is None:
                self._gaps.published(trades)
