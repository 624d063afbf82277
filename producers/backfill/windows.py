"""The time windows of a back-fill over REST. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from producers.backfill.checkpoint import BackfillCheckpoint


@dataclass(frozen=True, slots=True)
class SymbolWindow:
    """One symbol's trades of [start, end)."""

    exchange: str
    symbol: str
    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """The task's name in the checkpoint."""
        return f"rest {self.exchange}/{self.symbol} {self.start.isoformat()} {self.end.isoformat()}"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The window of a name in the checkpoint; None for the name of another task."""
        kind, _, rest = name.partition(" ")
        if kind != "rest":
            return None
        market, start, end = rest.rsplit(" ", 2)
        exchange, _, symbol = market.partition("/")
        return cls(exchange, symbol, datetime.fromisoformat(start), datetime.fromisoformat(end))

    @property
    def span_us(self) -> tuple[int, int]:
        """The window, µs (UTC)."""
        start, end = (int(moment.timestamp()) * 1_000_000 + moment.microsecond for moment in (self.start, self.end))
        return start, end


def left_of(whole: SymbolWindow, needless: Collection[date], checkpoint: BackfillCheckpoint) -> list[SymbolWindow]:
    """The parts of a window that a run has to read.

    Args:
        whole: the window. If it was begun or done before, it is not cut.
        needless: days (UTC) that are left out.
        checkpoint: windows within `whole` that are done are left out; windows that were begun stay as they are.
    """
    if _is_known(checkpoint.get(whole.name)):
        return [whole]
    known = {
        part: bool(step.get("done"))
        for name, step in checkpoint.steps.items()
        if _is_known(step) and (part := SymbolWindow.named(name)) is not None and _is_within(part, whole)
    }
    days = {whole.start.astimezone(UTC).date() + timedelta(days=n) for n in range((whole.end - whole.start).days + 2)}
    parts = [whole]
    for start, end in [*((part.start, part.end) for part in known), *map(_day, sorted(days & {*needless}))]:
        parts = [piece for part in parts for piece in _without(part, start, end)]
    begun = [part for part, is_done in known.items() if not is_done]
    return sorted([*begun, *parts], key=lambda part: part.start)


def _is_known(step: Mapping[str, Any]) -> bool:
    """Whether a window is done or begun. A window that was read before it was over is neither: it gets more trades."""
    return bool(step.get("done")) or "left" in step


def _is_within(part: SymbolWindow, whole: SymbolWindow) -> bool:
    same = (part.exchange, part.symbol) == (whole.exchange, whole.symbol)
    return same and whole.start <= part.start and part.end <= whole.end


def _day(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def _without(part: SymbolWindow, start: datetime, end: datetime) -> list[SymbolWindow]:
    """The parts of a window before and after [start, end)."""
    around = [replace(part, end=min(part.end, start)), replace(part, start=max(part.start, end))]
    return [piece for piece in around if piece.start < piece.end]
