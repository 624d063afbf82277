"""Decides what goes wrong at an exchange, and when: the same for the same seed and recording."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from producers.exchanges.model import Trades


class Fault(Enum):
    """A fault of the stream; it befalls one frame, or the connections when that frame is due."""

    DROP = "the connection ends in mid-stream; the frame is lost"
    SILENCE = "the connection lives and brings nothing more"
    DEAF = "the connection lives and brings nothing more of the frame's symbols"
    SKIP = "frames are never sent; REST has their trades later"
    MALFORMED = "half of the frame is sent instead of it"
    ERROR = "an error object comes before the frame"
    SLOW = "the frame and all after it come late"
    NEWEST_FIRST = "several frames come as one with its trades newest first, or in that order"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults of `kinds`, one in `every` frames of trades on average, and REST refusals in `rest` of 1 of requests.

    `resend` trades come again on every subscription; with `late_acks` acknowledgements come after data.
    `slow_s` and `retry_after_s` are in seconds of the wall clock.
    """

    seed: int
    every: int = 500
    kinds: Sequence[Fault] = tuple(Fault)
    rest: float = 0.2
    resend: int = 50
    late_acks: bool = True
    slow_s: float = 0.2
    retry_after_s: int = 1


class Dice:
    """The plan's decisions, one after the other."""

    def __init__(self, plan: FaultPlan) -> None:
        """The stream's and REST's do not disturb each other."""
        self._plan = plan
        # Reproducible on purpose, nothing is secret here (S311).
        self._stream = random.Random(plan.seed)  # noqa: S311
        self._rest = random.Random(plan.seed + 1)  # noqa: S311
        self._left = self._pause()

    def fault(self) -> tuple[Fault, int] | None:
        """Of the next frame of trades, and how many frames it befalls where that may be several."""
        self._left -= 1
        if self._left > 0 or not self._plan.kinds:
            return None
        self._left = self._pause()
        return self._stream.choice([*self._plan.kinds]), self._stream.randint(2, 12)

    def refusal(self) -> HTTPStatus | None:
        """Of the next REST request."""
        if self._rest.random() >= self._plan.rest:
            return None
        return self._rest.choice(
            (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
        )

    def _pause(self) -> int:
        return self._stream.randint(1, max(2 * self._plan.every - 1, 1))


#: What a frame of several trades looks like around its elements; exchanges not named send one trade a frame.
_WRAPPERS = {
    "kraken": '{{"channel":"trade","type":"update","data":[{trades}]}}',
    "bybit": '{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":0,"data":[{trades}]}}',
    "okx": '{{"arg":{{"channel":"trades","instId":"{symbol}"}},"data":[{trades}]}}',
    "coinbase": (
        '{{"channel":"market_trades","client_id":"","timestamp":"","sequence_num":0,'
        '"events":[{{"type":"update","trades":[{trades}]}}]}}'
    ),
}


def newest_first(code: str, frames: Sequence[tuple[bytes, Trades]]) -> list[tuple[bytes, Trades]]:
    """The trades of the frames, newest first: one frame a symbol where the exchange has such, else the same frames.

    Bybit orders trades by their place in a message: its trades stay oldest first inside of one.
    """
    wrapper = _WRAPPERS.get(code.partition("_")[0])
    if wrapper is None:
        return [*reversed(frames)]
    by_symbol: dict[str, Trades] = {}
    for _, parsed in frames:
        for trade in parsed.records:
            by_symbol.setdefault(trade.symbol, Trades([])).records.append(trade)
    merged = []
    for symbol, trades in by_symbol.items():
        ordered = trades.records if code.startswith("bybit") else trades.records[::-1]
        elements = ",".join(trade.payload for trade in ordered)
        merged.append((wrapper.format(symbol=symbol, trades=elements).encode(), Trades(ordered)))
    return merged
