"""The versions that ClickHouse holds of trades: many ids a question, each at its own time first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from silver_processor.core.versions import HELD, IDENTITY, versions_of
from silver_processor.seen.index import SAME_TIME_US

# A query and its parameters → the answer.
Select = Callable[[str, dict[str, Any]], pa.Table]

# A server takes a parameter of 128 KiB: of so many bytes are the ids of a question, each byte of which may be escaped.
QUESTION_BYTES = 100_000
# No trade is as old, or as new (µs).
_BEFORE_ALL, _AFTER_ALL = 0, 4_102_444_800_000_000
_NUMBER = r"^(?:0|[1-9][0-9]{0,18})$"


def _sql(name: str) -> str:
    return Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


_VERSIONS = _sql("versions")
_SUMMED = _sql("versions_summed")
_CORRECTIONS = _sql("corrections")


def held_versions(select: Select, rows: pa.Table) -> pl.DataFrame:
    """What Silver holds of the trades of these rows (exchange, symbol, trade_id, timestamp): columns `HELD`.

    A trade is looked for at its own time first, by its id and as a match of one that sums up several; then, as another
    version may have another time, at all times. A sum that has the match stands under the id that was asked for.
    """
    rest, found = _wanted(rows), [HELD.to_frame()]
    for margin_us in (SAME_TIME_US, None):
        for look in (_by_id, _summed):
            found.append(look(select, rest, margin_us))
            rest = rest.join(found[-1], on=IDENTITY, how="anti")
    return pl.concat(found)


def accepted_versions(select: Select, rows: pa.Table) -> pl.DataFrame:
    """The versions that were accepted of the trades of these rows (exchange, symbol, trade_id, timestamp): `HELD`."""
    wanted = _wanted(rows)
    found = [versions_of(pl.DataFrame(select(_CORRECTIONS, asked))) for asked in _questions(wanted, None)]
    return pl.concat([HELD.to_frame(), *found]).join(wanted, on=IDENTITY, how="semi")


def _wanted(rows: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(rows.select([*IDENTITY, "timestamp"])).unique(IDENTITY, keep="first", maintain_order=True)


def _questions(wanted: pl.DataFrame, margin_us: int | None) -> list[dict[str, Any]]:
    """Parameters, `margin_us` around the times of the trades or at all times."""
    asked = []
    # Quotes and a comma come with each.
    size = pl.col("trade_id").str.len_bytes().cast(pl.Int64) * 2 + 3
    for (exchange, symbol), market in wanted.group_by("exchange", "symbol", maintain_order=True):
        # Side by side in time, each question touches little of the table.
        ordered = market.sort("timestamp").with_columns(question=(size.cum_sum() - size) // QUESTION_BYTES)
        for part in ordered.partition_by("question", maintain_order=True):
            times = part["timestamp"].to_physical().to_numpy()
            asked.append(
                {
                    "exchange": exchange,
                    "symbol": symbol,
                    "earliest": _BEFORE_ALL if margin_us is None else int(times.min()) - margin_us,
                    "latest": _AFTER_ALL if margin_us is None else int(times.max()) + margin_us,
                    "ids": part["trade_id"].to_list(),
                }
            )
    return asked


def _by_id(select: Select, wanted: pl.DataFrame, margin_us: int | None) -> pl.DataFrame:
    found = [versions_of(pl.DataFrame(select(_VERSIONS, asked))) for asked in _questions(wanted, margin_us)]
    return pl.concat([HELD.to_frame(), *found]).join(wanted, on=IDENTITY, how="semi")


def _summed(select: Select, wanted: pl.DataFrame, margin_us: int | None) -> pl.DataFrame:
    """The sums that have the matches; each under the id of the match."""
    number = pl.col("trade_id").cast(pl.UInt64).alias("number")
    matches = wanted.filter(pl.col("trade_id").str.contains(_NUMBER)).with_columns(number).sort("number")
    found = [HELD.to_frame()]
    for asked in _questions(matches.drop("number"), margin_us):
        numbers = [int(trade_id) for trade_id in asked.pop("ids")]
        answer = select(_SUMMED, {**asked, "low": min(numbers), "high": max(numbers)})
        found.append(versions_of(pl.DataFrame(answer)))
    sums = pl.concat(found).with_columns(number.alias("last")).sort("last").drop("trade_id")
    mine = matches.select(*IDENTITY, "number")
    market = ["exchange", "symbol"]
    met = mine.join_asof(sums, left_on="number", right_on="last", by=market, strategy="forward", check_sortedness=False)
    return versions_of(met.filter(pl.col("last") - pl.col("match_count") < pl.col("number")))
