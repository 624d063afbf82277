"""Chooses the faults of a simulated exchange. The same seed and recording give the same faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from producers.exchanges.model import Trades
from producers.simulator.protocols import bybit, coinbase, kraken, okx


class Fault(Enum):
    """A fault of the stream. It hits one frame, or the connections at the time of that frame."""

    DROP = "the connection breaks; the frame is lost"
    SILENCE = "the connection stays open and brings nothing more"
    DEAF = "the connection stays open and brings nothing more of the frame's symbols"
    SKIP = "some frames are never sent; REST has their trades later"
    MALFORMED = "only half of the frame is sent"
    ERROR = "an error object comes before the frame"
    SLOW = "the frame and all later ones come late"
    NEWEST_FIRST = "several frames come as one, newest trade first, or in reverse order"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The kinds of faults, and how often they happen.

    Attributes:
        seed: of the random numbers.
        every: frames of trades between two faults, on average.
        kinds: faults of the stream.
        rest: share of REST requests that are refused, 0 to 1.
        resend: frames of trades that are sent again on every subscription.
        late_acks: whether acknowledgements come after data.
        slow_s: delay of a slow frame, s.
        retry_after_s: `Retry-After` of a refusal, s.
    """

    seed: int
    every: int = 500
    kinds: Sequence[Fault] = tuple(Fault)
    rest: float = 0.2
    resend: int = 50
    late_acks: bool = True
    slow_s: float = 0.2
    retry_after_s: int = 1


class FaultChoices:
    """The random choices of a plan, one after the other."""

    def __init__(self, plan: FaultPlan) -> None:
        """Stream and REST have separate random numbers, so that the faults of one do not depend on the other."""
        self._plan = plan
        # Reproducible on purpose; nothing here is secret (S311).
        self._stream = random.Random(plan.seed)  # noqa: S311
        self._rest = random.Random(plan.seed + 1)  # noqa: S311
        self._left = self._pause()

    def fault(self) -> tuple[Fault, int] | None:
        """The fault of the next frame of trades, and how many frames it hits if it can hit several; None: no fault."""
        self._left -= 1
        if self._left > 0 or not self._plan.kinds:
            return None
        self._left = self._pause()
        return self._stream.choice([*self._plan.kinds]), self._stream.randint(2, 12)

    def refusal(self) -> HTTPStatus | None:
        """The refusal of the next REST request, or None."""
        if self._rest.random() >= self._plan.rest:
            return None
        return self._rest.choice(
            (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
        )

    def _pause(self) -> int:
        return self._stream.randint(1, max(2 * self._plan.every - 1, 1))


# Puts several trades of a symbol into one frame. Other exchanges send one trade a frame.
_AROUND: dict[str, Callable[[str, list[str]], str]] = {
    "kraken": lambda _symbol, elements: kraken.around(elements),
    "bybit": bybit.around,
    "okx": okx.around,
    "coinbase": lambda _symbol, elements: coinbase.around(elements),
}


def newest_first(code: str, frames: Sequence[tuple[bytes, Trades]]) -> list[tuple[bytes, Trades]]:
    """The trades of the frames, newest first: one frame a symbol, or the frames in reverse if they have one trade each.

    Bybit's trades stay oldest first within a frame, because their place in the message is their order.
    """
    around = _AROUND.get(code.partition("_")[0])
    if around is None:
        return [*reversed(frames)]
    by_symbol: dict[str, Trades] = {}
    for _, parsed in frames:
        for trade in parsed.records:
            by_symbol.setdefault(trade.symbol, Trades([])).records.append(trade)
    merged = []
    for symbol, trades in by_symbol.items():
        ordered = trades.records if code.startswith("bybit") else trades.records[::-1]
        elements = [trade.payload for trade in ordered]
        merged.append((around(symbol, elements).encode(), Trades(ordered)))
    return merged
