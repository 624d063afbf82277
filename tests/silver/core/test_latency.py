"""Invariant: every fresh trade is counted once a stage, in the bucket its own times say; whole inserts at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from schemas.records import SILVER
from silver_processor.core.latency import BOUNDS, STAGES, latencies
from silver_processor.metrics import LATENCY, LatencyHistogram

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_US = 1_760_000_000_000_000
TIMES = ("timestamp", "received_at", "published_at", "ingested_at", "bronze_published_at", "validated_at")
# Around every bound, before the start (clocks disagree), and beyond the last bound.
GAPS_US = st.one_of(
    st.integers(-2_000_000, 1_000_000_000),
    st.sampled_from([round(bound * 1_000_000) + off for bound in BOUNDS for off in (-1, 0, 1)]),
)
TRADES = st.lists(
    st.tuples(st.sampled_from(["binance", "kraken", "okx"]), st.lists(GAPS_US, min_size=5, max_size=5)), max_size=20
)


def silver(trades: list[tuple[str, list[int]]]) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Silver rows whose times lie `gaps` apart, and their times in µs as the table holds them."""
    moments = []
    for exchange, gaps in trades:
        at, row = START_US, {"exchange": exchange, "timestamp": START_US}
        for name, gap in zip(TIMES[1:], gaps, strict=True):
            at += gap
            # Kafka's times are whole milliseconds.
            row[name] = at // 1000 * 1000 if "published" in name else at
        moments.append(row)
    columns = {}
    for field in SILVER:
        if field.name in TIMES:
            values = pa.array([row[field.name] for row in moments], pa.int64()).cast(pa.timestamp("us", "UTC"))
            columns[field.name] = values.cast(field.type)
        elif field.name == "exchange":
            columns["exchange"] = pa.array([row["exchange"] for row in moments], pa.string()).cast(field.type)
        else:
            columns[field.name] = pa.nulls(len(moments), field.type)
    return pa.table(columns), moments


@settings(max_examples=40, deadline=None)
@given(st.lists(TRADES, max_size=3), st.integers(0, 400_000_000))
def test_the_histogram_is_that_of_trade_by_trade_observation(inserts: list[Any], extra_us: int) -> None:
    expected = Histogram(
        LATENCY,
        "From the exchange's trade time through each layer to the candle",
        ["exchange", "stage"],
        buckets=BOUNDS,
        registry=None,
    )
    found = LatencyHistogram()
    for trades in inserts:
        table, moments = silver(trades)
        visible = START_US + extra_us
        found.add(latencies(table, visible))
        for row in moments:
            times = row | {"visible": visible}
            for stage, (start, end) in STAGES.items():
                seconds = max(times[end] - times[start], 0) / 1_000_000
                expected.labels(row["exchange"], stage).observe(seconds)
    assert samples(found) == pytest.approx(samples(expected))


def samples(collector: Any) -> dict[tuple[str, str, str, str], float]:
    (family,) = collector.collect()
    return {
        (one.name, one.labels["exchange"], one.labels["stage"], one.labels.get("le", "")): one.value
        for one in family.samples
        if not one.name.endswith("_created")
    }


def test_stages_join_up_and_their_parts_are_the_whole() -> None:
    chain = [pair for stage, pair in STAGES.items() if stage not in {"pipeline", "total"}]
    assert [end for _, end in chain[:-1]] == [start for start, _ in chain[1:]]
    assert (chain[0][0], chain[-1][1]) == STAGES["total"]
    assert (chain[1][0], chain[-1][1]) == STAGES["pipeline"]


def test_no_rows_no_series() -> None:
    registry = CollectorRegistry()
    histogram = LatencyHistogram()
    registry.register(histogram)
    histogram.add(latencies(SILVER.empty_table(), START_US))
    assert samples(histogram) == {}
    moment = EPOCH + timedelta(microseconds=START_US)
    table, _ = silver([("okx", [0, 0, 0, 0, 0])])
    assert table["timestamp"][0].as_py() == moment
    histogram.add(latencies(table, START_US + 1))
    assert registry.get_sample_value(f"{LATENCY}_count", {"exchange": "okx", "stage": "total"}) == 1
