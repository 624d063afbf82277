"""Dead letters validated again: the verdict is the worker's own, and nothing of the row is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from schemas.reasons import Reason
from schemas.records import BRONZE
from silver_processor.core.refine import refine
from silver_processor.inserts.dead_letters import records
from silver_processor.revalidation import PASSES, revalidate
from tests.silver.bronze import RULES, bronze


def dead_letters(changes: list[dict[str, Any]], reasons: list[str]) -> pa.Table:
    """Dead letters of the changed trades, whatever they are worth now."""
    rows = bronze(changes)
    extra = {"reason": reasons, "rejected_at": [datetime(2026, 1, 1, tzinfo=UTC)] * len(reasons)}
    for name, values in extra.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def test_each_dead_letter_has_one_verdict_in_order() -> None:
    given = dead_letters(
        [{}, {"symbol": "NEWUSDT"}, {"price_text": "-1"}, {"defect": "timestamp_invalid"}, {}],
        ["symbol_unmapped", "symbol_unmapped", "price_above_limit", "timestamp_invalid", "bronze_unreadable"],
    )
    found = revalidate(given, RULES)
    assert found.verdicts.rows() == [
        ("symbol_unmapped", PASSES),
        ("symbol_unmapped", "symbol_unmapped"),
        ("price_above_limit", "price_not_positive"),
        ("timestamp_invalid", "timestamp_invalid"),
        ("bronze_unreadable", "bronze_unreadable"),
    ]
    passing = pl.DataFrame(found.passing)
    assert passing["raw_offset"].to_list() == [0]
    assert passing["canonical"].to_list() == ["BTCUSDT"]
    assert passing.select(BRONZE.names).equals(pl.DataFrame(given).head(1).select(BRONZE.names))


def test_nothing_to_validate() -> None:
    found = revalidate(dead_letters([], []), RULES)
    assert found.verdicts.is_empty()
    assert found.passing.num_rows == 0


def test_a_dead_letter_holds_the_whole_bronze_row() -> None:
    """So that it can be sent again when Bronze has let go of the row or merged it with another delivery."""
    row = bronze([{"symbol": "NOSUCH", "sequence": "77"}])
    rejects = refine(row, RULES).rejects
    (dead_letter,) = records(rejects, {}, datetime(2026, 1, 1, tzinfo=UTC), "1", "2")
    assert dead_letter["reason"] == Reason.SYMBOL_UNMAPPED
    kept = {name: dead_letter[name] for name in BRONZE.names}
    numbers = pl.DataFrame(row).with_columns(pl.selectors.temporal().to_physical()).to_dicts()[0]
    assert kept == numbers
