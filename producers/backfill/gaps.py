"""Updates the rows of `producer_gaps` that a back-fill finds, fills or cannot fill.

Known gaps come from the gaps topic, and from the checkpoint if the topic no longer has them. The checkpoint also knows
which ids of a gap have been published since.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from confluent_kafka import KafkaException

from config.settings import Settings
from producers.backfill.checkpoint import BackfillCheckpoint
from producers.exchanges import exchange as exchange_of
from producers.gaps.events import GapEvents
from producers.gaps.gap import HEALED, OPEN, UNFILLABLE, Gap
from producers.gaps.id_ranges import IdRanges, without
from producers.gaps.resume import read_gaps
from producers.kafka.publisher import DeliveryError, KafkaPublisher
from producers.timestamps import now_us

Interval = tuple[int, int]


@dataclass(slots=True)
class GapCounts:
    """Counts of gaps: newly found, healed now, and the missing trades of the new ones."""

    found: int = 0
    healed: int = 0
    ids_missing: int = 0


class BackfillGaps:
    """The gaps of one exchange code. Safe to use from several threads."""

    def __init__(
        self, settings: Settings, code: str, checkpoint: BackfillCheckpoint, publisher: KafkaPublisher
    ) -> None:
        """Read the known gaps. The caller closes `publisher`.

        Raises:
            DeliveryError: the broker does not answer.
            RegistryError: the symbols file cannot be used.
        """
        self.counts = GapCounts()
        self._code = code
        self._checkpoint = checkpoint
        self._publisher = publisher
        self._publish_event = GapEvents(publisher, settings, code)
        self._lock = threading.Lock()
        try:
            known = read_gaps(settings, exchange_of(code))
        except KafkaException as error:
            raise DeliveryError(
                f"{settings.kafka_bootstrap_servers} does not say which gaps are known ({error}): check that the broker"
                " runs and can be reached (MEDALLION_KAFKA_BOOTSTRAP_SERVERS), then run the same command again"
            ) from error
        gaps = {self._name(gap): gap for gap in known}
        for gap in map(_gap_of, checkpoint.named(f"gap {code}/")):
            name = self._name(gap)
            if name not in gaps or gaps[name].state != HEALED:
                gaps[name] = gap
        self._gaps: dict[str, list[Gap]] = {}
        for gap in gaps.values():
            self._gaps.setdefault(gap.symbol, []).append(gap)

    def found(self, symbol: str, gaps: Sequence[Gap]) -> None:
        """Publish the new gaps. A gap inside a known one is not new, whatever its state.

        Raises:
            DeliveryError: the broker did not take an event.
        """
        with self._lock:
            known = sorted(ids for gap in self._gaps.get(symbol, []) if (ids := _span(gap)) is not None)
            firsts = [first for first, _ in known]
            reach = [*accumulate((last for _, last in known), max)]
            times = {(gap.from_us, gap.to_us) for gap in self._gaps.get(symbol, []) if gap.ids is None}
            new = []
            for gap in gaps:
                ids = _span(gap)
                at = bisect_right(firsts, ids[0]) if ids is not None else 0
                is_known = (gap.from_us, gap.to_us) in times if ids is None else at and reach[at - 1] >= ids[1]
                if not is_known:
                    new.append(gap)
            self._gaps.setdefault(symbol, []).extend(new)
            self.counts.found += len(new)
            self.counts.ids_missing += sum(gap.missing for gap in new)
            self._tell(new)

    def fill(self, symbol: str, runs: Sequence[Interval]) -> None:
        """Note that the broker has the trades with these ids (runs in order), which makes gaps smaller or full.

        Raises:
            DeliveryError: as `found`.
        """
        with self._lock:
            changed = []
            for gap in self._gaps.get(symbol, []):
                if gap.ids is None or gap.state == HEALED:
                    continue
                left = without(gap.ids.runs, runs)
                if left == gap.ids.runs:
                    continue
                gap.ids = _ids(left)
                if not left:
                    gap.mark_healed()
                    self.counts.healed += 1
                changed.append(gap)
            self._tell(changed)

    def refused(self, symbol: str, runs: Sequence[Interval], span_us: Interval) -> None:
        """Note that the exchange does not serve these ids of a span of time: nothing can fill them.

        Raises:
            DeliveryError: as `found`.
        """
        self._give_up(symbol, lambda gap: gap.ids is not None and not without(gap.ids.runs, runs))
        gaps = [
            Gap(symbol, str(first), str(last), *span_us, last - first + 1, now_us(), IdRanges(first, last), UNFILLABLE)
            for first, last in runs
        ]
        self.found(symbol, gaps)

    def unreachable(self, symbol: str, span_us: Interval) -> None:
        """Note that the exchange serves nothing of a span of time. The number of missing trades is unknown.

        Raises:
            DeliveryError: as `found`.
        """
        self._give_up(symbol, lambda gap: span_us[0] <= gap.to_us <= span_us[1])
        self.found(symbol, [Gap(symbol, "", "", *span_us, 0, now_us(), state=UNFILLABLE)])

    def _give_up(self, symbol: str, is_lost: Callable[[Gap], bool]) -> None:
        with self._lock:
            lost = [gap for gap in self._gaps.get(symbol, []) if gap.state == OPEN and is_lost(gap)]
            for gap in lost:
                gap.state = UNFILLABLE
            self._tell(lost)

    def _tell(self, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            self._publish_event(gap)
            # A file can have more holes than the producer's buffer has room.
            self._publisher.poll(0)
        if gaps:
            self._publisher.flush_events()
            self._checkpoint.put_all({self._name(gap): _step_of(gap) for gap in gaps})

    def _name(self, gap: Gap) -> str:
        """The gap's name in the checkpoint: the key of its row in `producer_gaps`."""
        return f"gap {self._code}/{gap.symbol} {gap.from_id} {gap.from_us} {gap.detected_us}"


def _span(gap: Gap) -> Interval | None:
    return (int(gap.from_id), int(gap.to_id)) if gap.ids is not None else None


def _ids(runs: Sequence[Interval]) -> IdRanges:
    return IdRanges.of(runs) if runs else IdRanges(0, -1)


def _step_of(gap: Gap) -> dict[str, Any]:
    return {
        "symbol": gap.symbol,
        "ids": [gap.from_id, gap.to_id],
        "span_us": [gap.from_us, gap.to_us],
        "found": gap.found,
        "detected_us": gap.detected_us,
        "left": gap.ids.runs if gap.ids is not None and gap.ids.count else [],
        "state": gap.state,
        "healed_us": gap.healed_us,
    }


def _gap_of(step: dict[str, Any]) -> Gap:
    (first, last), (from_us, to_us) = step["ids"], step["span_us"]
    ids = _ids([(run[0], run[1]) for run in step["left"]]) if first else None
    return Gap(
        step["symbol"], first, last, from_us, to_us, step["found"], step["detected_us"], ids, step["state"],
        step["healed_us"],
    )  # fmt: skip
