"""Makes an endless stream of unique trades from recorded ones, with other ids and times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from config.registry import SymbolRegistry
from producers.exchanges import REGISTRY
from producers.exchanges.model import Trades
from producers.kafka.envelope import Envelope
from producers.replay.recording import Recording

_LONGEST_FRAME = 1 << 20
_MILLISECONDS = 1_000
# Frames that are read from each recording: enough for variety, and read in half a second.
_MOST_SHAPES = 8_192
# The parts of a Binance trade frame that are replaced: stream and symbol, trade id, event and trade time (ms).
_PLACES = re.compile(r'"stream":"(?P<stream>[^"@]+)@|"s":"(?P<s>[^"]+)"|"t":(?P<t>[0-9]+)|"[ET]":(?P<time>[0-9]+)')


class StreamError(RuntimeError):
    """The recordings do not have the trades for a stream."""


@dataclass(frozen=True, slots=True)
class Source:
    """A recording of Binance trade frames, and its exchange code."""

    exchange: str
    path: Path


@dataclass(frozen=True, slots=True)
class _Shape:
    """A recorded trade for a market. Its `payload` has `{t}` for the trade id and `{T}` for the time (ms)."""

    exchange: str
    symbol: str
    market: int
    price: str
    quantity: str
    side: str
    payload: str


class TradeStream:
    """Trades that never repeat, of all markets in turn.

    Each trade has a recorded price, quantity and side, digit for digit. Its symbol is one of `markets` symbols of the
    registry: the recordings have only two, which would reach two partitions of four. Its id counts up from `first_id`
    within its market. Its time is the requested one.
    """

    def __init__(self, shapes: Sequence[_Shape], markets: int, first_id: int) -> None:
        """Use `TradeStream.load` instead."""
        self._shapes = shapes
        self._ids = [first_id] * markets
        self._next = 0

    @classmethod
    def load(cls, sources: Sequence[Source], registry: SymbolRegistry, markets: int, first_id: int) -> TradeStream:
        """Read the recordings.

        Args:
            sources: recordings of Binance trade frames. Each gets a share of the markets.
            registry: the symbols of the markets.
            markets: the number of markets in all, at least one for each source.
            first_id: the first trade id of each market.

        Raises:
            StreamError: a recording has no trades, or an exchange has too few markets.
            producers.replay.recording.RecordingError: a recording cannot be read.
        """
        dealt: list[list[_Shape]] = []
        counted = 0
        for number, source in enumerate(sources):
            share = markets // len(sources) + (number < markets % len(sources))
            symbols = _symbols(registry, source.exchange)[:share]
            if len(symbols) < share:
                raise StreamError(f"{source.exchange} has {len(symbols)} markets in the registry: ask for fewer")
            dealt.append(_shapes(source, symbols, counted))
            counted += share
        if not counted:
            raise StreamError("there is no recording: name at least one")
        # The exchanges alternate, so that a short part of the stream has all of them.
        shapes = [shape for group in zip(*dealt, strict=False) for shape in group]
        return cls(shapes, counted, first_id)

    def take(self, count: int, at_us: int) -> list[Envelope]:
        """The next `count` trades, traded and received at `at_us` (µs since the epoch, UTC)."""
        shapes, ids, first = self._shapes, self._ids, self._next
        time_ms = str(at_us // _MILLISECONDS)
        made: list[Envelope] = []
        for index in range(first, first + count):
            shape = shapes[index % len(shapes)]
            ids[shape.market] += 1
            trade_id = str(ids[shape.market])
            made.append(
                Envelope(
                    exchange=shape.exchange,
                    symbol=shape.symbol,
                    trade_id=trade_id,
                    price=shape.price,
                    quantity=shape.quantity,
                    timestamp=time_ms,
                    side=shape.side,
                    sequence="",
                    received_at=at_us,
                    payload=shape.payload % {"t": trade_id, "T": time_ms},
                )
            )
        self._next = (first + count) % len(shapes)
        return made


def _symbols(registry: SymbolRegistry, exchange: str) -> list[str]:
    """All markets of the exchange, each under one of its names, in order."""
    rows = [row for row in registry.lookup if row["exchange"] == exchange]
    return sorted({row["canonical"]: row["exchange_symbol"] for row in rows}.values())


def _shapes(source: Source, symbols: Sequence[str], first_market: int) -> list[_Shape]:
    parse = REGISTRY[source.exchange].parse
    shapes: list[_Shape] = []
    with Recording(source.path, longest_message=_LONGEST_FRAME) as recording:
        for frame in islice(recording, _MOST_SHAPES):
            parsed = parse(frame)
            if not isinstance(parsed, Trades):
                continue
            place = len(shapes) % len(symbols)
            trade = parsed.records[0]
            payload = _with_places(trade.payload, symbols[place])
            shapes.append(
                _Shape(
                    source.exchange,
                    symbols[place],
                    first_market + place,
                    trade.price,
                    trade.quantity,
                    trade.side,
                    payload,
                )
            )
    if not shapes:
        raise StreamError(f"{source.path} has no {source.exchange} trades: give a recording of trade frames")
    return shapes


def _with_places(payload: str, symbol: str) -> str:
    def replace(found: re.Match[str]) -> str:
        name = found.lastgroup or ""
        new = {"stream": symbol.lower(), "s": symbol, "t": "%(t)s", "time": "%(T)s"}[name]
        start, end = found.start(name) - found.start(), found.end(name) - found.start()
        return found[0][:start] + new + found[0][end:]

    return _PLACES.sub(replace, payload.replace("%", "%%"))
