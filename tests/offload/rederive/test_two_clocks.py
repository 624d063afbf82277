"""Invariant: of a trade whose time came in ms and in µs Silver keeps the first, and a re-derivation agrees."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import polars as pl
import pytest

from offload.difference.match_index import MatchIndex
from offload.difference.silver_difference import silver_difference
from offload.tables.cold_tables import BY_NAME
from schemas.coordinates import COORDINATES
from silver_processor.core.refine import refine
from silver_processor.core.versions import HELD, compare, contradicting
from tests.silver.bronze import MOMENT, RULES, bronze

# The exchange's clock, cut to milliseconds and rounded up to them.
TIMES = {"us": MOMENT + timedelta(microseconds=600), "cut": MOMENT, "rounded": MOMENT + timedelta(milliseconds=1)}
SILVER = pl.DataFrame(BY_NAME["silver_trades"].schema.as_arrow().empty_table())
NO_CORRECTION = HELD.to_frame()


def messages(clocks: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"timestamp": TIMES[clock], "timestamp_raw": clock, "ingested_at": MOMENT + timedelta(seconds=place)}
        for place, clock in enumerate(clocks)
    ]


@pytest.mark.parametrize("clocks", [*permutations(("us", "cut")), *permutations(("us", "rounded"))], ids="-".join)
def test_the_first_stays_in_every_order(clocks: tuple[str, str]) -> None:
    rows = bronze(messages(clocks))
    valid = pl.DataFrame(refine(rows, RULES).valid)
    first, second = valid.head(1), valid.slice(1)
    # The stream takes the first and counts the second, also if both are in one batch.
    assert contradicting(compare(second, first)).is_empty()

    def rederived(silver: pl.DataFrame) -> Any:
        nowhere = SILVER.select(HELD.names()), SILVER.select(COORDINATES)
        return silver_difference(rows, silver, *nowhere, RULES, NO_CORRECTION, MatchIndex(set()))

    lost = rederived(SILVER)
    assert lost.added["timestamp"].to_list() == [TIMES[clocks[0]]]
    assert (lost.rejects.height, lost.valid.height) == (0, 2)
    for held in (
        lost.added,
        lost.added.with_columns(timestamp=pl.lit(TIMES[clocks[1]]).cast(pl.Datetime("us", "UTC"))),
    ):
        # Whichever Silver has stays.
        kept = rederived(held.select(SILVER.columns).cast(dict(SILVER.schema)))
        assert (kept.added.height, kept.altered.height, kept.removed.height, kept.rejects.height) == (0, 0, 0, 0)
        assert kept.valid.filter("is_row").height == 1
