"""Back-fills one symbol's window page by page. The checkpoint lists the ids that the broker does not have yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import structlog
from tenacity import AsyncRetrying

from config.process.retry import retry_times
from producers.backfill.checkpoint import DONE, BackfillCheckpoint
from producers.backfill.gaps import BackfillGaps
from producers.backfill.windows import SymbolWindow
from producers.exchanges.model import RefusedError, Rest, Trade, Trades, TradeSpan
from producers.gaps.id_ranges import IdRanges, without
from producers.kafka.envelope import BACKFILL, envelopes
from producers.kafka.publisher import KafkaPublisher
from producers.rest.client import FAILURES, RestClient, rest_of
from producers.rest.history import History
from producers.timestamps import event_time_us, now_us

_TRIES = 6
_LONGEST_PAUSE_S = 30.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Remaining:
    """The part of a window that is not published yet. `window`: its first and last id, if it has ids.

    `is_over`: the window was over when its last id was looked for.
    """

    total: int
    window: tuple[int, int]
    ids: IdRanges | None
    since_us: int
    unreachable: tuple[int, int] | None
    is_over: bool

    @property
    def count(self) -> int:
        """The number of ids that are not published yet."""
        return self.ids.count if self.ids is not None else 0

    @classmethod
    def of(cls, step: dict[str, Any]) -> Self:
        """Read a step of the checkpoint."""
        runs = [(int(first), int(last)) for first, last in step["left"]]
        cut = step["unreachable"]
        first, last = step["window"]
        ids = IdRanges.of(runs) if runs else None
        # Steps of version 0.2 do not say whether the window was over.
        is_over = step.get("is_over", False)
        return cls(step["total"], (first, last), ids, step["since_us"], (cut[0], cut[1]) if cut else None, is_over)

    def step(self) -> dict[str, Any]:
        """The step for the checkpoint."""
        runs = self.ids.runs if self.ids is not None else []
        return {
            "total": self.total,
            "window": self.window,
            "left": runs,
            "since_us": self.since_us,
            "unreachable": self.unreachable,
            "is_over": self.is_over,
        }

    @property
    def unserved(self) -> list[tuple[int, int]]:
        """The ids that are not published, as runs. After the last page the exchange has not served them."""
        return self.ids.runs if self.ids is not None and self.count else []

    @property
    def published(self) -> list[tuple[int, int]]:
        """The ids that are published, as runs."""
        return without([self.window], self.unserved) if self.window[0] <= self.window[1] else []


class RetryingClient:
    """A REST client with retries, so that a long back-fill survives an exchange that is away for a minute."""

    def __init__(self, client: RestClient) -> None:
        """The caller opens and closes `client`."""
        self._client = client

    @property
    def rest(self) -> Rest:
        """As `RestClient.rest`."""
        return self._client.rest

    @property
    def lacks_key(self) -> bool:
        """As `RestClient.lacks_key`."""
        return self._client.lacks_key

    async def newest(self, symbol: str) -> list[Trade]:
        """As `RestClient.newest`."""
        return await _retry()(self._client.newest, symbol)

    async def page(self, symbol: str, span: TradeSpan) -> list[Trade]:
        """As `RestClient.page`."""
        return await _retry()(self._client.page, symbol, span)


def _retry() -> AsyncRetrying:
    return retry_times(_TRIES, _is_temporary, _LONGEST_PAUSE_S, _log, "asking again")


def _is_temporary(error: BaseException) -> bool:
    return isinstance(error, FAILURES) and not isinstance(error, RefusedError)


@dataclass(slots=True)
class AcknowledgedPublisher:
    """Publishes for all symbols. The checkpoint lists a page only after the broker has acknowledged it."""

    code: str
    publisher: KafkaPublisher
    lock: asyncio.Lock
    published: int = 0

    async def put(self, trades: Sequence[Trade]) -> None:
        """Publish, and return once the broker has every message.

        Raises:
            DeliveryError: something was not delivered.
        """
        messages = envelopes(self.code, b"", Trades([*trades]), now_us())
        async with self.lock:
            await asyncio.to_thread(self._put, messages)
            self.published += len(messages)

    def _put(self, messages: Sequence[Any]) -> None:
        self.publisher.publish(messages, BACKFILL)
        self.publisher.flush()


@dataclass(slots=True)
class WindowFill:
    """Back-fills one symbol's window."""

    client: RetryingClient
    history: History
    task: SymbolWindow
    checkpoint: BackfillCheckpoint
    sink: AcknowledgedPublisher
    gaps: BackfillGaps
    tell: Callable[[SymbolWindow, float], None]

    async def run(self) -> list[str]:
        """Publish the window. Returns sentences about trades that the exchange does not serve."""
        task = self.task
        if "left" in (step := self.checkpoint.get(task.name)):
            left = Remaining.of(step)
        else:
            is_over = task.span_us[1] < now_us()
            window = await self.history.window(task.symbol, *task.span_us)
            if window.trades is not None:
                await self.sink.put(window.trades)
            ids = IdRanges(window.first, window.last) if window.trades is None and window.count else None
            left = Remaining(
                window.count, (window.first, window.last), ids, task.span_us[0], window.unreachable, is_over
            )
        await self._pages(left)
        missing = await asyncio.to_thread(self._note_gaps, left)
        # A window that was not over gets more trades, so it is not done. Nor is a window with unserved trades: the
        # exchange may serve them later.
        if not missing:
            done = {**DONE, "window": left.window, "total": left.total}
            self.checkpoint.put(task.name, done if left.is_over else {"is_over": False})
        return missing

    async def _pages(self, left: Remaining) -> None:
        span = TradeSpan(left.ids.first, left.ids.last, left.since_us) if left.ids is not None and left.count else None
        while span is not None:
            page = await self.client.page(self.task.symbol, span)
            await self._take(page, left)
            after = rest_of(span, page, self.client.rest.pages) if page and left.count else None
            span = after if after != span else None

    async def _take(self, page: Sequence[Trade], left: Remaining) -> None:
        ids = left.ids
        wanted = [trade for trade in page if ids is not None and ids.discard(int(trade.trade_id))]
        if not wanted:
            return
        await self.sink.put(wanted)
        if self.client.rest.by_time:
            left.since_us = max(left.since_us, *(event_time_us(trade.timestamp) or 0 for trade in wanted))
        self.checkpoint.put(self.task.name, left.step())
        self.tell(self.task, 1.0 - left.count / left.total)

    def _note_gaps(self, left: Remaining) -> list[str]:
        """Record the ids that are published and those that the exchange does not serve; the latter also in words."""
        symbol = self.task.symbol
        sentences = []
        self.gaps.fill(symbol, left.published)
        if left.unreachable is not None:
            self.gaps.unreachable(symbol, left.unreachable)
            until = datetime.fromtimestamp(left.unreachable[1] / 1e6, tz=UTC).isoformat()
            why = "older trades are not served"
            if self.client.lacks_key:
                why = f"older trades are served with an API key only, set {self.client.rest.key_variable}"
            sentences.append(f"{symbol}: nothing before {until}: {why}")
        if left.unserved:
            self.gaps.refused(symbol, left.unserved, self.task.span_us)
            first, last = left.unserved[0][0], left.unserved[-1][1]
            sentences.append(f"{symbol}: {left.count:,} trades between ids {first} and {last} are not served")
        return sentences
