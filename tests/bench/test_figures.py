"""Latency and rate figures against plain loops over the same looks."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pipeline.journeys import STAGES, drift, durations, with_visibility
from bench.pipeline.latency import has_settled
from bench.pipeline.parts import by_table
from bench.pipeline.sustained import sustained_rate

MS = 1_000


def journeys(received: dict[str, list[int]]) -> pl.DataFrame:
    """Trades of each symbol in the order in which they were published."""
    rows = [
        (symbol, number, at, at + MS, at + 20 * MS, at + 35 * MS, at + 40 * MS)
        for symbol, times in received.items()
        for number, at in enumerate(times, start=1)
    ]
    names = ["symbol", "number", "received", "published", "ingested", "bronze_published", "validated"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(exchange=pl.lit("binance"))


def looks(rows: list[tuple[int, str, int]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["seen", "symbol", "trades"], orient="row")
    return frame.with_columns(exchange=pl.lit("binance"))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(1, 12), st.integers(1, 12))
def test_a_trade_is_visible_at_the_first_look_that_counts_it(
    steps: list[tuple[int, int]], most_a: int, most_b: int
) -> None:
    # What is counted of a market never goes back; the last look shows everything, of one market maybe too much.
    seen: list[tuple[int, str, int]] = []
    a = b = 0
    for at, (more_a, more_b) in enumerate([*steps, (most_a, most_b)]):
        a, b = a + more_a, b + more_b
        seen += [(at, "A", a), (at, "B", b)]
    found = with_visibility(journeys({"A": [0] * most_a, "B": [0] * most_b}), looks(seen))
    expected = {
        (symbol, number): next(at for at, of, trades in seen if of == symbol and trades >= number)
        for symbol, most in (("A", most_a), ("B", most_b))
        for number in range(1, most + 1)
    }
    assert {(row["symbol"], row["number"]): row["visible"] for row in found.to_dicts()} == expected


def test_a_trade_that_never_shows_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 of 2 trades"):
        with_visibility(journeys({"A": [5, 6]}), looks([(10, "A", 1)]))


def test_the_layers_add_up_to_the_whole() -> None:
    received = [60 * MS, 120 * MS, 190 * MS]
    found = durations(with_visibility(journeys({"A": received}), looks([(170 * MS, "A", 2), (300 * MS, "A", 3)])))
    assert found["stage"].to_list() == list(STAGES)
    means = found["mean_ms"].to_list()
    assert sum(means[:-1]) == pytest.approx(means[-1])
    # From each trade to the look that counts it.
    assert means[-1] == pytest.approx((110 + 50 + 110) / 3)
    assert found["max_ms"].to_list()[-1] == 110


def test_a_pipeline_that_tells_only_the_whole_has_only_that() -> None:
    whole = journeys({"A": [60 * MS]}).select("exchange", "symbol", "number", "received")
    found = durations(with_visibility(whole, looks([(170 * MS, "A", 1)])))
    assert found.select("stage", "p50_ms").rows() == [("trade → candle", 110.0)]


def test_drift_is_how_much_slower_the_later_half_is() -> None:
    growing = pl.DataFrame({"received": [3, 1, 2, 0], "visible": [43, 11, 42, 10]})
    assert drift(growing) == 4.0
    with pytest.raises(ValueError, match="measure longer"):
        drift(growing.head(1))


@pytest.mark.parametrize(
    ("medians", "settled"), [([], False), ([100.0], False), ([900.0, 120.0], False), ([900.0, 120.0, 110.0], True)]
)
def test_latency_has_settled_when_two_loads_agree(medians: list[float], settled: bool) -> None:
    assert has_settled(medians) is settled


def test_parts_are_flat_where_the_last_quarter_has_no_more_than_the_second() -> None:
    counts = {"grows": [1, 2, 3, 4, 5, 6, 7, 8], "flat": [1, 9, 9, 9, 9, 9, 9, 9]}
    samples = [
        {"at_s": 10.0 * at, "table": table, "partition": partition, "parts": parts if partition == "full" else 1}
        for table, values in counts.items()
        for at, parts in enumerate(values, start=1)
        for partition in ("full", "other")
    ]
    assert by_table(samples, 80.0) == [
        {"table": "flat", "second_quarter": 9, "last_quarter": 9, "most": 9},
        {"table": "grows", "second_quarter": 4, "last_quarter": 8, "most": 8},
    ]


def test_rate_counts_whole_steps_within_the_window() -> None:
    # A step of 1,000 trades every 0.1 s, looked at five times a step: 10,000 trades/s wherever the window is cut.
    totals = pl.DataFrame({"seen": [n * 20_000 for n in range(500)], "trades": [n // 5 * 1_000 for n in range(500)]})
    for start, end in ((0, 10_000_000), (1_050_000, 7_777_777)):
        assert sustained_rate(totals, start, end) == pytest.approx(10_000)
    with pytest.raises(ValueError, match="measure longer"):
        sustained_rate(totals, 10_000, 150_000)
