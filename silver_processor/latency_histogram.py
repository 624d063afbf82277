"""The histogram `medallion_trade_latency_seconds`: whole inserts are added at once, never trade by trade."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from silver_processor.core.latency import BOUNDS, Latency

NAME = "medallion_trade_latency_seconds"
_EDGES = [*map(str, BOUNDS), "+Inf"]


class LatencyHistogram(Collector):
    """Buckets and sum by exchange and stage (`silver_processor.core.latency.STAGES`) since the process began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def add(self, found: Iterable[Latency]) -> None:
        """Count the latencies of one insert."""
        with self._lock:
            for latency in found:
                key = (latency.exchange, latency.stage)
                self._counts[key] = self._counts.get(key, 0) + latency.counts
                self._seconds[key] = self._seconds.get(key, 0.0) + latency.seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric as Prometheus wants it: cumulative counts."""
        family = HistogramMetricFamily(
            NAME, "From the exchange's trade time through each layer to the candle", labels=["exchange", "stage"]
        )
        with self._lock:
            for key, counts in self._counts.items():
                cumulative = zip(_EDGES, np.cumsum(counts).tolist(), strict=True)
                family.add_metric(list(key), list(cumulative), self._seconds[key])
        yield family
