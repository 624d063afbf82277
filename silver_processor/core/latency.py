"""The latencies of one insert's trades from layer to layer, counted into histogram buckets by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

VISIBLE = "visible"
# Stage → the columns of Silver at its start and end. `visible`: when the insert into Silver and Gold returned.
STAGES: Mapping[str, tuple[str, str]] = {
    "exchange": ("timestamp", "received_at"),
    "producer": ("received_at", "published_at"),
    "raw": ("published_at", "ingested_at"),
    "bronze": ("ingested_at", "bronze_published_at"),
    "queue": ("bronze_published_at", "validated_at"),
    "silver": ("validated_at", VISIBLE),
    "pipeline": ("received_at", VISIBLE),
    "total": ("timestamp", VISIBLE),
}
# Upper bounds in seconds, inclusive; longer latencies are counted as +Inf. The steps are fine around the goals for p50
# and p99.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 120.0, 600.0)
_BOUNDS_US = np.array([round(bound * 1_000_000) for bound in BOUNDS])


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of one exchange and stage: the count in each bucket (`BOUNDS`, then +Inf), and their sum (s)."""

    exchange: str
    stage: str
    counts: npt.NDArray[np.int64]
    seconds: float


def latencies(rows: pa.Table, visible_us: int) -> list[Latency]:
    """The latencies of each exchange and stage. `rows` (schema `SILVER`) were visible at `visible_us` (µs, UTC).

    A stage that seems to end before it starts counts as 0: the exchange's clock differs from ours, and Kafka's times
    are cut to whole milliseconds.
    """
    if not rows.num_rows:
        return []
    coded = rows["exchange"].combine_chunks().cast(pa.string()).dictionary_encode()
    exchanges = coded.dictionary.to_pylist()
    codes = coded.indices.to_numpy()
    columns = {column for pair in STAGES.values() for column in pair} - {VISIBLE}
    times = {column: _micros(rows, column) for column in columns} | {VISIBLE: np.int64(visible_us)}
    buckets = len(BOUNDS) + 1
    measured = []
    for stage, (start, end) in STAGES.items():
        micros = np.maximum(times[end] - times[start], 0)
        bucket = np.searchsorted(_BOUNDS_US, micros, side="left")
        counts = np.bincount(codes * buckets + bucket, minlength=len(exchanges) * buckets)
        sums = np.bincount(codes, weights=micros, minlength=len(exchanges)) / 1_000_000
        for code, exchange in enumerate(exchanges):
            of_exchange = counts[code * buckets : (code + 1) * buckets]
            measured.append(Latency(exchange, stage, of_exchange, float(sums[code])))
    return measured


def _micros(rows: pa.Table, column: str) -> npt.NDArray[np.int64]:
    moments = rows[column].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return np.asarray(moments.combine_chunks().to_numpy(zero_copy_only=False), dtype=np.int64)
