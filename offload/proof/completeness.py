"""Repeats the counting proof for every hour of the last day, as metrics: is each raw message in exactly one place?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge

from offload.clickhouse.client import HotStore
from offload.proof.counts import LineageCount, count_lineage

HOUR = timedelta(hours=1)
# Raw is kept for two days. A message that is missing for longer than this needs an operator and
# `medallion lineage verify`.
WATCHED = timedelta(hours=24)
# A message may name any exchange. Exchanges that the settings do not list share one time series.
OTHER = "other"


class Completeness:
    """Counts each hour that is over, and counts an hour again while a message of it is missing.

    A message that is in flight when its hour is counted is missing. The next count finds it.
    """

    def __init__(self, exchanges: Collection[str], registry: CollectorRegistry) -> None:
        self._exchanges = frozenset(exchanges)
        self._unsettled: set[datetime] = set()
        self._counted_until: datetime | None = None

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"medallion_completeness_{name}_messages", text, ["exchange"], registry=registry)

        self._raw = gauge("raw", "Raw messages of the last closed hour")
        self._settled = gauge("settled", "Of these, in exactly one of Silver, duplicates and DLQ")
        self._missing = gauge("missing", "Messages of the last day found nowhere")
        self._several = gauge("in_several", "Messages of the last day found more than once")
        self._counted = Gauge(
            "medallion_completeness_counted_timestamp_seconds", "When hours were last counted", registry=registry
        )

    def count(self, hot: HotStore, now: datetime) -> list[LineageCount]:
        """Count the hours that are over at `now` (aware) or had missing messages; returns the counts that do not hold.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        earliest = end - WATCHED
        start = min([self._counted_until or earliest, end - HOUR, *self._unsettled])
        counts = count_lineage(hot, max(start, earliest), end)
        broken = [count for count in counts if not count.holds]
        self._unsettled = {count.hour for count in broken}
        self._counted_until = end
        self._show([count for count in counts if count.hour >= end - HOUR], broken)
        self._counted.set(now.timestamp())
        return broken

    def _show(self, newest: list[LineageCount], broken: list[LineageCount]) -> None:
        self._set(self._raw, newest, lambda count: count.raw)
        self._set(self._settled, newest, lambda count: count.raw - count.missing - count.in_several)
        self._set(self._missing, broken, lambda count: count.missing)
        self._set(self._several, broken, lambda count: count.in_several)

    def _set(self, gauge: Gauge, counts: list[LineageCount], number: Callable[[LineageCount], int]) -> None:
        sums = Counter(dict.fromkeys((count.exchange for count in counts if count.exchange in self._exchanges), 0))
        for count in counts:
            sums[count.exchange if count.exchange in self._exchanges else OTHER] += number(count)
        gauge.clear()
        for exchange, total in sums.items():
            gauge.labels(exchange).set(total)
