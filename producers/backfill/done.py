"""What a checkpoint says of back-filled spans: which were read, from where, and what was in them. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from producers.backfill.dumps import Day
from producers.backfill.windows import SymbolWindow

DUMP, REST = "dump", "rest"
_FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Filled:
    """A span [start_us, end_us) (µs, UTC) of a market's trades that a back-fill read, or failed to.

    Attributes:
        symbol: in the exchange's own spelling.
        source: `dump` or `rest`.
        is_done: the broker has all of it.
        first_id: id of its first trade; `last_id` is below it where it has none. None: nobody noted it.
        last_id: id of its last trade.
        trades: how many it has; None: nobody noted it.
        dead: rows of a file that are no trades.
        left: trades that are not published yet, where it is not done.
        failure: why it could not be read; "": it could.
    """

    exchange: str
    symbol: str
    source: str
    start_us: int
    end_us: int
    is_done: bool
    first_id: int | None = None
    last_id: int | None = None
    trades: int | None = None
    dead: int = 0
    left: int = 0
    failure: str = ""


def filled(steps: Mapping[str, Mapping[str, Any]]) -> list[Filled]:
    """The spans that the steps of a checkpoint are about (`BackfillCheckpoint.steps`)."""
    return [*_spans({name: step for name, step in steps.items() if step})]


def _spans(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Filled]:
    for name, step in steps.items():
        kind, _, rest = name.partition(" ")
        if kind == DUMP:
            yield _of_file(rest, step)
        elif kind == REST:
            yield _of_window(name, step)
        elif kind == _FAILURE and rest not in steps:
            exchange, symbol, start_us, end_us = _place(rest.partition(" ")[2])
            yield Filled(exchange, symbol, DUMP, start_us, end_us, is_done=False, failure=str(step["error"]))


def _of_file(place: str, step: Mapping[str, Any]) -> Filled:
    exchange, symbol, start_us, end_us = _place(place)
    first, last = step["ends"][:2] if step["ends"] else (None, None)
    # A step of version 0.2 has the number of all rows, not that of the trades.
    trades = step.get("trades", step["rows"])
    return Filled(
        exchange, symbol, DUMP, start_us, end_us, is_done=True, first_id=first, last_id=last, trades=trades,
        dead=step.get("dead", 0),
    )  # fmt: skip


def _of_window(name: str, step: Mapping[str, Any]) -> Filled:
    window = SymbolWindow.named(name)
    assert window is not None
    first, last = step.get("window", (None, None))
    # The first trade that is served need not be the first of the span, nor the newest so far the last.
    first = None if step.get("unreachable") else first
    last = last if step.get("done") or step.get("is_over") else None
    left = sum(run[1] - run[0] + 1 for run in step.get("left", []))
    return Filled(
        window.exchange, window.symbol, REST, *window.span_us, is_done=bool(step.get("done")), first_id=first,
        last_id=last, trades=step.get("total"), left=left,
    )  # fmt: skip


def _place(text: str) -> tuple[str, str, int, int]:
    """Market and span of a file: `binance/BTCUSDT/2024-08-09`, for a part of the day with its bounds (µs)."""
    exchange, _, rest = text.partition("/")
    symbol, _, when = rest.rpartition("/")
    day, *bounds = when.split(" ")
    start_us, end_us = (int(bounds[0]), int(bounds[1])) if bounds else Day("", "", date.fromisoformat(day)).span_us
    return exchange, symbol, start_us, end_us
