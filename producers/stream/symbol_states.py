"""The state of each symbol at the exchange: subscribing, acknowledged, streaming, silent or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from producers import metrics
from producers.exchanges.model import Trade

# Longest message of an exchange that is kept, and most symbols that a text names.
_WORDS = 300
_NAMED_IN_TEXT = 10


class SymbolState(StrEnum):
    """The state of one symbol on its current connection."""

    SUBSCRIBING = "subscribing"
    ACKNOWLEDGED = "acknowledged"
    STREAMING = "streaming"
    # No trade for a long time: the market is quiet, or the exchange acknowledges a symbol that it does not have.
    SILENT = "silent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SymbolStatus:
    """A symbol's state. `words`: what is wrong, in the exchange's words if it refused the symbol; "" if nothing is."""

    state: SymbolState
    words: str = ""


@dataclass(slots=True)
class _Symbol:
    state: SymbolState = SymbolState.SUBSCRIBING
    words: str = ""
    # Time of the acknowledgement, later of the last trade, on the monotonic clock, s.
    heard_s: float = 0.0


class SymbolStatuses:
    """The states of symbols, in the exchange's own spelling. No I/O. Times are on the monotonic clock, s."""

    def __init__(self, symbols: Iterable[str], silent_s: float) -> None:
        """A symbol without a trade for `silent_s` is silent."""
        self._symbols: dict[str, _Symbol] = {}
        self._names: dict[str, str] = {}
        self._silent_s = silent_s
        self._fresh: set[str] = set()
        for symbol in symbols:
            self.add(symbol)

    def add(self, symbol: str) -> None:
        """Add a symbol."""
        self._symbols[symbol] = _Symbol()
        # A frame's symbol may differ in case from the subscribed one (Binance).
        self._names = {symbol.upper(): symbol} | self._names | {symbol: symbol}

    def knows(self, symbol: str) -> bool:
        """Whether the symbol was added."""
        return symbol in self._symbols

    def observe(self, trades: Sequence[Trade]) -> None:
        """Record trades that the stream brought. `settle` updates the states."""
        for trade in trades:
            self._fresh.add(trade.symbol)

    def settle(self, now_s: float) -> dict[str, SymbolState]:
        """Update the states by the trades since the last call.

        Returns:
            the symbols that begin to stream, each with its state before.
        """
        begun: dict[str, SymbolState] = {}
        for text in self._fresh:
            name = self.name(text)
            if name is None:
                continue
            symbol = self._symbols[name]
            if symbol.state is not SymbolState.STREAMING:
                begun[name] = symbol.state
            symbol.state, symbol.words, symbol.heard_s = SymbolState.STREAMING, "", now_s
        self._fresh.clear()
        return begun

    def name(self, text: str) -> str | None:
        """The subscribed symbol with this name in a frame; None if there is none."""
        return self._names.get(text) or self._names.get(text.upper())

    def state(self, symbol: str) -> SymbolState:
        """The state as of the last event. It is never SILENT."""
        return self._symbols[symbol].state

    def acknowledged(self, symbol: str, now_s: float) -> None:
        """Record that the exchange accepted the subscription."""
        known = self._symbols[symbol]
        if known.state is not SymbolState.STREAMING:
            known.state, known.words, known.heard_s = SymbolState.ACKNOWLEDGED, "", now_s

    def refused(self, symbol: str, words: str) -> None:
        """Record that the exchange refuses the symbol. `words`: its message."""
        known = self._symbols[symbol]
        known.state, known.words = SymbolState.REFUSED, words[:_WORDS]

    def unanswered(self, symbol: str, words: str) -> None:
        """Record that the exchange has not answered the subscription. `words`: a message about it."""
        known = self._symbols[symbol]
        if known.state is SymbolState.SUBSCRIBING:
            known.words = words

    def lost(self, symbols: Iterable[str]) -> None:
        """Record that the connection of these symbols was lost. Refused symbols stay refused."""
        for symbol in symbols:
            known = self._symbols[symbol]
            if known.state is not SymbolState.REFUSED:
                known.state, known.words = SymbolState.SUBSCRIBING, ""

    def now(self, now_s: float) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        self.settle(now_s)
        return {name: self._status(symbol, now_s) for name, symbol in self._symbols.items()}

    def _status(self, symbol: _Symbol, now_s: float) -> SymbolStatus:
        is_up = symbol.state in {SymbolState.ACKNOWLEDGED, SymbolState.STREAMING}
        if is_up and now_s - symbol.heard_s > self._silent_s:
            return SymbolStatus(SymbolState.SILENT)
        return SymbolStatus(symbol.state, symbol.words)


def troubled(statuses: Mapping[str, SymbolStatus]) -> dict[str, SymbolStatus]:
    """The symbols that can bring no trades: refused, or not answered."""
    return {symbol: status for symbol, status in statuses.items() if status.words}


def trouble_text(troubled: Mapping[str, SymbolStatus]) -> str:
    """A text about what is wrong with symbols. It names the first ones."""
    named = [*troubled.items()][:_NAMED_IN_TEXT]
    parts = [f"{symbol} {status.state}: {status.words}" for symbol, status in named]
    more = f", and {len(troubled) - _NAMED_IN_TEXT:,} symbols more" if len(troubled) > _NAMED_IN_TEXT else ""
    return "; ".join(parts) + more


# Most symbols that the metric names: a label must not have an unbounded number of values.
_NAMED = 100


class SymbolMetrics:
    """Shows the symbols of one exchange code as metrics: their number by state, and the refused ones by name."""

    def __init__(self, code: str) -> None:
        """Nothing is shown yet."""
        self._code = code
        self._named: set[tuple[str, str]] = set()

    def show(self, statuses: Mapping[str, SymbolStatus]) -> None:
        """Show the current statuses."""
        counts = Counter(status.state for status in statuses.values())
        for state in SymbolState:
            metrics.SYMBOLS.labels(self._code, state.value).set(counts[state])
        named = {(symbol, str(status.state)) for symbol, status in [*troubled(statuses).items()][:_NAMED]}
        for labels in self._named - named:
            metrics.SYMBOL_TROUBLE.remove(self._code, *labels)
        for labels in named:
            metrics.SYMBOL_TROUBLE.labels(self._code, *labels).set(1)
        self._named = named
