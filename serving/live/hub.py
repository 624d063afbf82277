"""The listeners of each stream, and the queue of each client: a slow client slows no other."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Hashable, Iterable

from serving import metrics
from serving.live.messages import Update
from serving.live.streams import Stream

MOST_WAITING = 1_000


class Outbox:
    """Messages that wait for one client. A newer state of a candle or ticker replaces an older one that still waits."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        """`most`: at most so many messages wait."""
        self._most = most
        self._waiting: OrderedDict[Hashable, Update] = OrderedDict()
        self._numbers = itertools.count()
        self._something = asyncio.Event()

    def put(self, update: Update) -> None:
        """Queue a message. A full queue drops its oldest message, if possible one that need not arrive."""
        key = next(self._numbers) if update.replaces is None else ("replaced", update.replaces)
        if self._waiting.pop(key, None) is not None:
            metrics.DROPPED.inc()
        elif len(self._waiting) >= self._most:
            spare = next((waiting for waiting, old in self._waiting.items() if not old.must_arrive), None)
            self._waiting.pop(next(iter(self._waiting)) if spare is None else spare)
            metrics.DROPPED.inc()
        self._waiting[key] = update
        self._something.set()

    async def take(self) -> Update:
        """Remove and return the oldest message; waits until there is one."""
        while not self._waiting:
            self._something.clear()
            await self._something.wait()
        return self._waiting.popitem(last=False)[1]

    def __len__(self) -> int:
        return len(self._waiting)


class Hub:
    """The listeners of every stream."""

    def __init__(self) -> None:
        self._listeners: dict[Stream, set[Outbox]] = {}
        self._followed: dict[Stream, asyncio.Event] = {}
        self._somebody = asyncio.Event()

    @property
    def streams(self) -> list[Stream]:
        """The streams that have a listener."""
        return list(self._listeners)

    def listen(self, stream: Stream, outbox: Outbox) -> None:
        """Add a client to the listeners of a stream."""
        self._listeners.setdefault(stream, set()).add(outbox)
        self._followed.setdefault(stream, asyncio.Event())
        self._somebody.set()
        metrics.STREAMS.set(len(self._listeners))

    def leave(self, stream: Stream, outbox: Outbox) -> None:
        """Remove a client from the listeners of a stream."""
        outboxes = self._listeners.get(stream, set())
        outboxes.discard(outbox)
        if not outboxes:
            self._listeners.pop(stream, None)
            self._followed.pop(stream, None)
        if not self._listeners:
            self._somebody.clear()
        metrics.STREAMS.set(len(self._listeners))

    async def somebody(self) -> None:
        """Wait until any stream has a listener."""
        await self._somebody.wait()

    def mark_followed(self, streams: Iterable[Stream]) -> None:
        """From now on every change of these streams is published."""
        for stream in streams:
            if stream in self._followed:
                self._followed[stream].set()

    def is_followed(self, stream: Stream) -> bool:
        """Whether `mark_followed` was called since the stream's first listener came."""
        return stream in self._followed and self._followed[stream].is_set()

    async def until_followed(self, streams: Iterable[Stream]) -> None:
        """Wait until every change of these streams is published. They have a listener."""
        for followed in [self._followed[stream] for stream in streams]:
            await followed.wait()

    def publish(self, stream: Stream, update: Update) -> None:
        """Queue a message for each listener."""
        for outbox in self._listeners.get(stream, ()):
            outbox.put(update)
