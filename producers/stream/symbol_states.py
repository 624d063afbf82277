"""The state of each symbol at the exchange: subscribing, acknowledged, streaming, silent or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from producers import metrics
from producers.exchanges.model import Trade

_WORDS = 300
_SAID = 10


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
    """A symbol's state. `words` say what is wrong: the exchange's words of a refusal, or ours if it did not answer."""

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
        """Whether it has the symbol."""
        return symbol in self._symbols

    def observe(self, trades: Sequence[Trade]) -> None:
        """Record trades that the stream brought. `settle` updates the states."""
        for trade in trades:
            self._fresh.add(trade.symbol)

    def settle(self, now_s: float) -> dict[str, SymbolState]:
        """Update the states by the trades since the last call. Returns symbols that begin to stream, with their old
        state."""
        begun: dict[str, SymbolState] = {}
        for text in self._fresh:
            name = self.name(text)
            if name is None:
                continue
            one = self._symbols[name]
            if one.state is not SymbolState.STREAMING:
                begun[name] = one.state
            one.state, one.words, one.heard_s = SymbolState.STREAMING, "", now_s
        self._fresh.clear()
        return begun

    def name(self, text: str) -> str | None:
        """The symbol that a frame's text means; None if it is not subscribed."""
        return self._names.get(text) or self._names.get(text.upper())

    def state(self, symbol: str) -> SymbolState:
        """The state as of the last event. It is never SILENT."""
        return self._symbols[symbol].state

    def acknowledged(self, symbol: str, now_s: float) -> None:
        """Record that the exchange accepted the subscription."""
        one = self._symbols[symbol]
        if one.state is not SymbolState.STREAMING:
            one.state, one.words, one.heard_s = SymbolState.ACKNOWLEDGED, "", now_s

    def refused(self, symbol: str, words: str) -> None:
        """Record a refusal, and the exchange's words."""
        one = self._symbols[symbol]
        one.state, one.words = SymbolState.REFUSED, words[:_WORDS]

    def unanswered(self, symbol: str, words: str) -> None:
        """Record that the exchange has not answered the subscription."""
        one = self._symbols[symbol]
        if one.state is SymbolState.SUBSCRIBING:
            one.words = words

    def lost(self, symbols: Iterable[str]) -> None:
        """Record that their connection was lost. Refused symbols stay refused."""
        for symbol in symbols:
            one = self._symbols[symbol]
            if one.state is not SymbolState.REFUSED:
                one.state, one.words = SymbolState.SUBSCRIBING, ""

    def now(self, now_s: float) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        self.settle(now_s)
        return {symbol: self._standing(one, now_s) for symbol, one in self._symbols.items()}

    def _standing(self, one: _Symbol, now_s: float) -> SymbolStatus:
        is_up = one.state in {SymbolState.ACKNOWLEDGED, SymbolState.STREAMING}
        if is_up and now_s - one.heard_s > self._silent_s:
            return SymbolStatus(SymbolState.SILENT)
        return SymbolStatus(one.state, one.words)


def troubled(statuses: Mapping[str, SymbolStatus]) -> dict[str, SymbolStatus]:
    """The symbols that can bring no trades: refused, or not answered."""
    return {symbol: one for symbol, one in statuses.items() if one.words}


def said(troubled: Mapping[str, SymbolStatus]) -> str:
    """A text about what is wrong with symbols. It names the first ones."""
    parts = [f"{symbol} {one.state}: {one.words}" for symbol, one in [*troubled.items()][:_SAID]]
    more = f", and {len(troubled) - _SAID:,} symbols more" if len(troubled) > _SAID else ""
    return "; ".join(parts) + more


# Most symbols that are shown by name, because a label may not have any number of values.
_NAMED = 100


class SymbolMetrics:
    """Shows the symbols of one exchange code as metrics: their number by state, and the refused ones by name."""

    def __init__(self, code: str) -> None:
        """Nothing is shown yet."""
        self._code = code
        self._named: set[tuple[str, str]] = set()

    def show(self, statuses: Mapping[str, SymbolStatus]) -> None:
        """Show the current statuses."""
        counts = Counter(one.state for one in statuses.values())
        for state in SymbolState:
            metrics.SYMBOLS.labels(self._code, state.value).set(counts[state])
        named = {(symbol, str(one.state)) for symbol, one in [*troubled(statuses).items()][:_NAMED]}
        for labels in self._named - named:
            metrics.SYMBOL_TROUBLE.remove(self._code, *labels)
        for labels in named:
            metrics.SYMBOL_TROUBLE.labels(self._code, *labels).set(1)
        self._named = named
