"""What a run counts, as Prometheus counters: shown a few times a second, since a counter a frame costs too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from producers import metrics
from producers.counters import Tally
from producers.stream.symbol_states import Standing, State, troubled

#: Symbols that are shown by name: a label's values are bounded.
_NAMED = 100


class Counting:
    """Of one exchange code."""

    def __init__(self, code: str, tally: Tally) -> None:
        """`tally` goes on counting."""
        self._tally = tally
        self._counters = metrics.FRAMES.labels(code), metrics.BYTES.labels(code), metrics.TRADES.labels(code)
        self._shown = 0, 0, 0

    def show(self) -> None:
        """What was counted since the last time."""
        now = self._tally.frames, self._tally.size, self._tally.trades
        for counter, value, shown in zip(self._counters, now, self._shown, strict=True):
            counter.inc(value - shown)
        self._shown = now


class CountedSymbols:
    """The symbols of one exchange code by state, and those that are refused by name."""

    def __init__(self, code: str) -> None:
        """Nothing is shown yet."""
        self._code = code
        self._named: set[tuple[str, str]] = set()

    def show(self, standings: Mapping[str, Standing]) -> None:
        """As they stand now."""
        counts = Counter(one.state for one in standings.values())
        for state in State:
            metrics.SYMBOLS.labels(self._code, state.value).set(counts[state])
        named = {(symbol, str(one.state)) for symbol, one in [*troubled(standings).items()][:_NAMED]}
        for labels in self._named - named:
            metrics.SYMBOL_TROUBLE.remove(self._code, *labels)
        for labels in named:
            metrics.SYMBOL_TROUBLE.labels(self._code, *labels).set(1)
        self._named = named
