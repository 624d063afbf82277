"""The back-filled spans of a checkpoint: which were read, from which source, and how many trades they had. No I/O."""

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
    """A span [start_us, end_us) (µs, UTC) of a market's trades that a back-fill read, or failed to read.

    Attributes:
        exchange: the exchange code.
        symbol: the exchange's own symbol.
        source: `dump` or `rest`.
        start_us: start, inclusive.
        end_us: end, exclusive.
        is_done: the broker has all trades of the span.
        first_id: id of the first trade; larger than `last_id` if there is no trade. None: unknown.
        last_id: id of the last trade. None: unknown.
        trades: the number of trades. None: unknown.
        dead: rows of a file that are no trades.
        left: trades that are not published yet.
        failure: why the span could not be read, else "".
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
    """The spans of the steps of a checkpoint (`BackfillCheckpoint.steps`)."""
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
    # If older trades are not served, the first served trade need not be the first of the span. If the span was not over
    # yet, the newest trade need not be its last.
    first = None if step.get("unreachable") else first
    last = last if step.get("done") or step.get("is_over") else None
    left = sum(run[1] - run[0] + 1 for run in step.get("left", []))
    return Filled(
        window.exchange, window.symbol, REST, *window.span_us, is_done=bool(step.get("done")), first_id=first,
        last_id=last, trades=step.get("total"), left=left,
    )  # fmt: skip


def _place(text: str) -> tuple[str, str, int, int]:
    """Market and span of a file: `binance/BTCUSDT/2024-08-09`, and its bounds (µs) if it is a part of the day."""
    exchange, _, rest = text.partition("/")
    symbol, _, when = rest.rpartition("/")
    day, *bounds = when.split(" ")
    start_us, end_us = (int(bounds[0]), int(bounds[1])) if bounds else Day("", "", date.fromisoformat(day)).span_us
    return exchange, symbol, start_us, end_us
