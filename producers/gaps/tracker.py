"""Keeps the gaps of an exchange, from when they are found until they are healed or given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from producers import metrics
from producers.counters import GapCounters
from producers.exchanges.model import Exchange, Trade
from producers.gaps.consecutive_ids import ConsecutiveIds
from producers.gaps.gap import HEALED, OPEN, UNFILLABLE, Gap
from producers.gaps.resume import ResumePoint
from producers.gaps.unordered_ids import UnorderedIds
from producers.options import ProducerOptions

# A gap of more ids is not filled over REST. `medallion backfill` fills it from the exchange's dumps.
MOST_IDS = 1_000_000
_log = structlog.get_logger(__name__)


class GapTracker:
    """The gaps of one exchange code, and the time of each symbol's next comparison with REST. Sends no requests."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        options: ProducerOptions,
        counters: GapCounters,
        note: Callable[[Gap], None],
    ) -> None:
        """No gap is known yet.

        Args:
            exchange: `ids_of` says whether trade ids are consecutive.
            symbols: in the exchange's own spelling.
            options: when gaps are healed and symbols compared.
            counters: the counters to update.
            note: called with a gap whenever its state changes.
        """
        self._code = exchange.code
        self._options = options
        self._counters = counters
        self._note = note
        self._gaps: list[Gap] = []
        # Ids without an order show no gaps, so every symbol is compared with REST, not only quiet ones.
        self.compares_always = exchange.ids_of is None
        self._detector: ConsecutiveIds | UnorderedIds = (
            UnorderedIds() if self.compares_always else ConsecutiveIds(exchange)
        )
        self._pause_s = options.audit_s if self.compares_always else options.quiet_s
        # By symbol, the time of its next comparison on the monotonic clock, s; empty if symbols are not compared.
        self._due_s = dict.fromkeys(symbols, time.monotonic() + self._pause_s) if self._pause_s else {}
        self._positions: dict[str, int | None] = {}
        self._log = _log.bind(exchange=exchange.code)

    def observe(self, trades: Sequence[Trade]) -> None:
        """Record trades that the stream brought."""
        self._open(self._detector.observe(trades))

    def published(self, trades: Sequence[Trade]) -> None:
        """Record trades that REST brought and that are published."""
        self._detector.fill(trades)

    def resume(self, resume_point: ResumePoint) -> None:
        """Continue where earlier runs of this producer ended."""
        for gaps in resume_point.open.values():
            self._open(gaps)
        for symbol in resume_point.published.keys() | resume_point.open.keys():
            left_open = resume_point.open.get(symbol, [])
            self._open(self._detector.resume(symbol, resume_point.published.get(symbol, []), left_open))
        for symbol in resume_point.unknown:
            self._log.warning("no published trade found: a gap before this start cannot be found",
                              symbol=symbol)  # fmt: skip
        # Compare soon: a symbol that stays quiet shows no gap from before this start.
        due_s = time.monotonic() + self._options.heal_after_s
        for symbol in resume_point.published if self._due_s else ():
            self._due_s[symbol], self._positions[symbol] = due_s, self._detector.position(symbol)

    def lost(self, symbols: Sequence[str]) -> None:
        """Record that the connection of these symbols broke."""
        if isinstance(self._detector, UnorderedIds):
            for symbol in symbols:
                self._detector.interrupted(symbol)

    def resumed(self, symbols: Sequence[str]) -> None:
        """Record that the connection of these symbols is up."""
        if isinstance(self._detector, UnorderedIds):
            self._detector.restored(symbols)
            self._due_s.update(dict.fromkeys(symbols, time.monotonic() + self._options.heal_after_s))

    @property
    def open_gaps(self) -> list[Gap]:
        """The gaps that still lack trades."""
        return [gap for gap in self._gaps if gap.state == OPEN]

    def due_gaps(self) -> list[Gap]:
        """The gaps that are due to be healed."""
        now_s = time.monotonic()
        return [gap for gap in self.open_gaps if gap.ids is not None and gap.due_s <= now_s]

    def due_symbols(self) -> list[str]:
        """The symbols that are due to be compared with REST."""
        now_s = time.monotonic()
        return [symbol for symbol, due_s in self._due_s.items() if due_s <= now_s]

    def begin_comparison(self, symbol: str) -> bool:
        """Set the time of the next comparison. Returns whether no trade came since the last one."""
        self._due_s[symbol] = time.monotonic() + self._pause_s
        before, self._positions[symbol] = self._positions.get(symbol), self._detector.position(symbol)
        return self._positions[symbol] == before

    def broken_us(self, symbol: str) -> int | None:
        """The time back to which the next comparison needs trades, µs (UTC); None if the newest ones are enough."""
        return self._detector.broken_us(symbol)

    def compare(self, symbol: str, newest: Sequence[Trade], *, is_quiet: bool) -> tuple[list[Trade], list[Gap]]:
        """Compare REST's newest trades with the stream's. Returns the trades to publish, and the new gaps."""
        lost, gaps = self._detector.compare(symbol, newest, is_quiet=is_quiet)
        self._open(gaps)
        return lost, gaps

    def give_up(self, is_under_way: Callable[[Gap], bool]) -> None:
        """Mark gaps as unfillable that are too old or too long for REST, unless a request for them is under way."""
        for gap in self.open_gaps:
            is_old = time.monotonic() - gap.since_s > self._options.heal_for_s
            if gap.ids is not None and not is_under_way(gap) and (is_old or gap.ids.count > MOST_IDS):
                gap.state = UNFILLABLE

    def settle(self) -> None:
        """Count and note the gaps that are healed or unfillable, and remove them from the list."""
        closed = [gap for gap in self._gaps if gap.state != OPEN]
        if not closed:
            return
        self._gaps = [gap for gap in self._gaps if gap.state == OPEN]
        for gap in closed:
            healed = gap.found - gap.missing
            self._counters.healed += healed
            self._counters.unfillable += gap.missing
            metrics.GAP_HEALED.labels(self._code).inc(healed)
            metrics.GAP_UNFILLABLE.labels(self._code).inc(gap.missing)
            log = self._log.info if gap.state == HEALED else self._log.error
            log("gap over", symbol=gap.symbol, state=gap.state, healed=healed, missing=gap.missing)
            self._note(gap)
        self._show()

    def end(self) -> None:
        """Note the state of the gaps that are still open at the end of the run."""
        self.settle()
        for gap in self._gaps:
            self._note(gap)

    def _open(self, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            self._log.warning("gap", symbol=gap.symbol, first=gap.from_id, last=gap.to_id, trades=gap.found)
            self._counters.gaps += 1
            self._counters.found += gap.found
            metrics.GAP_FOUND.labels(self._code).inc(gap.found)
            gap.due_s = time.monotonic() + self._options.heal_after_s
            self._gaps.append(gap)
            self._note(gap)
            self._show()

    def _show(self) -> None:
        self._counters.open = len(self._gaps)
        metrics.GAPS_OPEN.labels(self._code).set(len(self._gaps))
        metrics.GAP_OPEN.labels(self._code).set(sum(gap.missing for gap in self._gaps))
