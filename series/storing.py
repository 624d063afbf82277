"""Stores the answers of a question. Answers that come during an insert are inserted together by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from series.answer import Answer

# An insert costs a fifth of a second, and some 45 µs a row. So many rows take about a second. A killed run has to ask
# again for the rows that were not inserted.
_MOST_ROWS = 20_000


class Storing:
    """Answers on their way to ClickHouse: at most twice `most_rows` rows, and one answer more."""

    def __init__(self, insert: Callable[[Sequence[Answer]], None], most_rows: int = _MOST_ROWS) -> None:
        """`insert` blocks; it is called in another thread, one call at a time."""
        self._insert = insert
        self._most_rows = most_rows
        self._waiting: list[Answer] = []
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Insert the waiting answers, also after a failure. Raises what `insert` raises."""
        await self._stored()

    async def add(self, answer: Answer) -> None:
        """Take an answer. Waits if too many rows are waiting already. Raises what `insert` raises."""
        if self._running is not None and self._running.done():
            await self._stored()
        self._waiting.append(answer)
        if self._running is None:
            self._running = asyncio.ensure_future(self._store())
        elif sum(len(one.rows) for one in self._waiting) >= self._most_rows:
            await self._stored()

    async def _store(self) -> None:
        while self._waiting:
            answers, self._waiting = self._waiting, []
            await asyncio.to_thread(self._insert, answers)

    async def _stored(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running
