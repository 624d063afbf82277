"""Which trade ids a re-derivation validates: all whose messages and rows of Silver are not the same, each as often."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload.difference.id_checksums import SILVER_COLUMNS, IdChecksums
from offload.difference.silver_difference import IDENTITY, VALUES
from offload.tables.cold_tables import BY_NAME
from schemas.coordinates import COORDINATES

COLD = pl.DataFrame(BY_NAME["silver_trades"].schema.as_arrow().empty_table()).schema
START = datetime(2026, 1, 5, tzinfo=UTC)
# Another value of the same type for every column that is compared.
ALTERED: dict[str, pl.Expr] = {
    **{name: pl.col(name) + "x" for name, kind in COLD.items() if kind == pl.String},
    **{name: pl.col(name) + 1 for name, kind in COLD.items() if kind == pl.Int64},
    **{name: pl.col(name) + pl.duration(microseconds=1000) for name, kind in COLD.items() if kind.is_temporal()},
    "price": pl.col("price") + Decimal(1).scaleb(-18),
    # The upper 64 bits alone differ.
    "quantity": pl.col("quantity") + Decimal(2**64).scaleb(-18),
    "quote_volume": pl.col("quote_volume") + Decimal(1).scaleb(-20),
    "sequence": pl.col("sequence") + Decimal(2**63),
}


def silver(numbers: list[int]) -> pl.DataFrame:
    """Rows of cold Silver, one for each number, that differ in every column."""
    number = pl.col("number")
    columns = {
        **{name: pl.format("{}-{}", pl.lit(name), number) for name, kind in COLD.items() if kind == pl.String},
        **{name: number for name, kind in COLD.items() if kind.is_numeric()},
        **{name: pl.lit(START) + pl.duration(seconds=number) for name, kind in COLD.items() if kind.is_temporal()},
    }
    rows = pl.DataFrame({"number": pl.Series(numbers, dtype=pl.Int64)})
    return rows.select(**columns).select(SILVER_COLUMNS).cast({name: COLD[name] for name in SILVER_COLUMNS})


def valid(rows: pl.DataFrame) -> pl.DataFrame:
    """The same as `refine` gives them."""
    return rows.drop("insert_token").cast(
        {
            "sequence": pl.UInt64,
            "match_count": pl.UInt32,
            "raw_partition": pl.UInt32,
            "raw_offset": pl.UInt64,
            "published_at": pl.Datetime("ms", "UTC"),
            "side": pl.Categorical(),
        }
    )


def suspect_ids(checksums: IdChecksums, rows: pl.DataFrame) -> set[str]:
    return set(checksums.suspects(rows)["trade_id"])


@settings(max_examples=settings().max_examples * 2, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), max_size=30), st.integers(0, 30))
def test_in_doubt_is_what_differs_and_no_more(messages: list[int], rows: list[int], cut: int) -> None:
    """In any order and any pieces; with as many slots as make ten ids share none."""
    checksums = IdChecksums()
    for part in (messages[:cut], messages[cut:]):
        checksums.add_valid(valid(silver(part)))
    for part in (rows[cut:], rows[:cut]):
        checksums.add_silver(silver(part))
    said, held = Counter(messages), Counter(rows)
    differing = {number for number in range(10) if said[number] != held[number] or held[number] > 1}
    assert suspect_ids(checksums, silver(list(range(10)))) == {f"trade_id-{number}" for number in differing}
    assert checksums.suspect_rows == sum(said[number] + held[number] for number in differing)


@pytest.mark.parametrize("name", [*IDENTITY, *VALUES, *COORDINATES])
def test_each_value_counts(name: str) -> None:
    rows = silver([1, 2])
    other = rows.with_columns(
        pl.when(pl.col("trade_id") == "trade_id-2").then(ALTERED[name]).otherwise(name).alias(name)
    )
    checksums = IdChecksums()
    checksums.add_valid(valid(rows))
    checksums.add_silver(other.cast({name: COLD[name]}))
    assert suspect_ids(checksums, rows) == {"trade_id-2"}


@pytest.mark.parametrize("name", [*IDENTITY, *VALUES, *COORDINATES])
def test_values_that_change_places_are_not_the_same(name: str) -> None:
    """Two trades in one slot, one of whose columns is the other's: no sum of columns tells that."""
    rows = silver([1, 2])
    checksums = IdChecksums(slots=1)
    checksums.add_valid(valid(rows))
    checksums.add_silver(rows.with_columns(pl.col(name).reverse()))
    assert suspect_ids(checksums, rows) == {"trade_id-1", "trade_id-2"}


def test_what_the_sums_do_not_know_can_be_doubted() -> None:
    rows = silver([1, 2, 3, 4])
    added = pl.col("trade_id") == "trade_id-4"
    checksums = IdChecksums()
    checksums.add_valid(valid(rows))
    checksums.add_silver(
        rows.with_columns(pl.when(added).then(pl.lit("rederive:1-abc")).otherwise("insert_token").alias("insert_token"))
    )
    assert suspect_ids(checksums, rows) == {"trade_id-4"}, "the stream may have it by now"
    checksums.mark_suspect(pl.Series(["trade_id-2"]))
    checksums.add_rejects(valid(silver([5])))
    assert suspect_ids(checksums, silver([1, 2, 3, 4, 5, 6])) == {"trade_id-2", "trade_id-4", "trade_id-5"}
    assert checksums.suspect_rows == 5


def test_messages_of_rows_are_known_by_their_coordinates() -> None:
    rows = silver(list(range(100)))
    checksums = IdChecksums()
    checksums.add_silver(rows)
    assert checksums.may_be_in_silver(rows).all()
    later = rows.with_columns(pl.col("published_at") + timedelta(milliseconds=1))
    assert checksums.may_be_in_silver(later).sum() <= 1
