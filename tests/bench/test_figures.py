"""Latency and rate figures against plain loops over the same looks."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.journeys import STAGES, durations, with_visibility
from bench.throughput import sustained_rate

MS = 1_000


def journeys(validated: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "received": [at - 40 * MS for at in validated],
            "published": [at - 39 * MS for at in validated],
            "ingested": [at - 20 * MS for at in validated],
            "bronze_published": [at - 5 * MS for at in validated],
            "validated": validated,
        }
    )


@given(
    inserts=st.lists(st.integers(1, 50), min_size=1, max_size=20, unique=True).map(sorted),
    looks=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 50)), max_size=40),
    data=st.data(),
)
def test_a_trade_is_visible_at_the_first_look_that_shows_its_insert(
    inserts: list[int], looks: list[tuple[int, int]], data: st.DataObject
) -> None:
    # Looks come in order and what they show never goes back; the last shows everything.
    seen = [*sorted(at for at, _ in looks), 501]
    newest = [*sorted(min(shown, max(inserts)) for _, shown in looks), max(inserts)]
    trades = data.draw(st.lists(st.sampled_from(inserts), min_size=1, max_size=30))
    frame = pl.DataFrame({"seen": seen, "newest": newest, "trades": range(len(seen))})
    expected = sorted((one, next(at for at, shown in zip(seen, newest, strict=True) if shown >= one)) for one in trades)
    found = with_visibility(journeys(trades), frame)
    assert sorted(found.select("validated", "visible").rows()) == expected


def test_a_trade_that_never_shows_is_an_error() -> None:
    looks = pl.DataFrame({"seen": [10], "newest": [5], "trades": [1]})
    with pytest.raises(ValueError, match="1 of 2 trades"):
        with_visibility(journeys([5, 6]), looks)


def test_the_layers_add_up_to_the_whole() -> None:
    validated = [100 * MS, 160 * MS, 230 * MS]
    looks = pl.DataFrame({"seen": [170 * MS, 300 * MS], "newest": [160 * MS, 230 * MS], "trades": [2, 3]})
    found = durations(with_visibility(journeys(validated), looks))
    assert found["stage"].to_list() == list(STAGES)
    means = found["mean_ms"].to_list()
    assert sum(means[:-1]) == pytest.approx(means[-1])
    # 40 ms to the insert, then 70, 10 and 70 ms until a look shows it.
    assert means[-1] == pytest.approx((110 + 50 + 110) / 3)
    assert found["max_ms"].to_list()[-1] == 110


def test_rate_counts_whole_steps_within_the_window() -> None:
    # A step of 1,000 trades every 0.1 s, looked at five times a step: 10,000 trades/s wherever the window is cut.
    looks = pl.DataFrame(
        {"seen": [n * 20_000 for n in range(500)], "newest": [0] * 500, "trades": [n // 5 * 1_000 for n in range(500)]}
    )
    for start, end in ((0, 10_000_000), (1_050_000, 7_777_777)):
        assert sustained_rate(looks, start, end) == pytest.approx(10_000)
    with pytest.raises(ValueError, match="measure longer"):
        sustained_rate(looks, 10_000, 150_000)
