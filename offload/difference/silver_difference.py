"""What Silver would be by today's rules, against what it is, and where each raw message belongs (pure).

Everything is decided trade id by trade id, so rows may be judged in buckets by trade id.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from offload.difference.match_index import MatchIndex
from schemas.reasons import Reason
from silver_processor.core.refine import refine, refuse
from silver_processor.core.rules import Rules
from silver_processor.core.versions import compare, contradicting, overruled, versions_of

IDENTITY = ["exchange", "symbol", "trade_id"]
VALUES = [
    *("price", "quantity", "quote_volume", "timestamp", "side", "sequence"),
    *("trade_kind", "match_count", "exchange_symbol"),
]
COORDINATES = ["raw_topic", "raw_partition", "raw_offset", "published_at"]
REDERIVED_TOKEN = "rederive:"
_STAMPS = ["validated_at", "bronze_partition", "bronze_offset", "bronze_published_at", "insert_token"]
_SOURCE = ["exchange", "exchange_symbol", "trade_id"]


@dataclass(frozen=True, slots=True)
class SilverDifference:
    """How Silver's rows by today's rules differ from those there were, by identity.

    `added` and `altered` are new rows, `removed` and `replaced` old ones (all their columns), the latter what
    `altered` stand for. `unfounded` old rows have no Bronze row, so no rule speaks against them: they stay.
    `valid` are all messages that pass (identity, coordinates, `timestamp`, `is_row`: it is the one in Silver,
    `is_covered`: Silver has its matches under other ids), the rejects (`REJECT_COLUMNS`) the rest.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    altered: pl.DataFrame
    replaced: pl.DataFrame
    unfounded: pl.DataFrame
    valid: pl.DataFrame
    rejects: pl.DataFrame


def silver_difference(
    bronze: pa.Table,
    silver: pl.DataFrame,
    elsewhere: pl.DataFrame,
    moved: pl.DataFrame,
    rules: Rules,
    corrections: pl.DataFrame,
    matches: MatchIndex,
) -> SilverDifference:
    """Refine `bronze` (schema `schemas.records.BRONZE`) and compare with `silver` (at least cold Silver's columns).

    Of several messages with one identity the one whose values Silver has stays, else Silver's own message, else the
    one that was accepted, else the earliest; what `corrections` (`HELD`) overrule is none of them. Messages that
    contradict the row are rejects. `elsewhere` (`HELD`) are rows that Silver has in another place: their trades are
    not added, and what a re-derivation had added before they came is removed. `moved` (`COORDINATES`) are messages
    that Bronze now has on another day. `matches` knows which matches Silver has: what brings none that is new is a
    duplicate.
    """
    refined = refine(bronze, rules)
    valid = pl.DataFrame(refined.valid)
    wrong = _cold_coordinates(overruled(compare(valid, corrections)))
    renamed = {name: f"{name}_old" for name in [*VALUES, *COORDINATES, *_STAMPS]}
    old = silver.select([*IDENTITY, *VALUES, *COORDINATES, *_STAMPS]).rename(renamed)
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_old")) for name in VALUES)
    own = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_old")) for name in COORDINATES)
    matched = _cold_types(valid).join(old, on=IDENTITY, how="left").with_columns(same.alias("same"), own.alias("own"))
    accepted = _cold_coordinates(corrections).select(*COORDINATES, accepted=pl.lit(value=True))
    fresh = matched.join(wrong, on=COORDINATES, how="anti").join(accepted, on=COORDINATES, how="left")
    ranked = fresh.with_columns(pl.col("accepted").fill_null(value=False)).sort(
        "same", "own", "accepted", "ingested_at", *COORDINATES, descending=[True] * 3 + [False] * (1 + len(COORDINATES))
    )
    best = ranked.unique(IDENTITY, keep="first", maintain_order=True)
    known = pl.col("validated_at_old").is_not_null()
    altered = best.filter(known & ~pl.col("same")).with_columns(pl.col(f"{name}_old").alias(name) for name in _STAMPS)
    added, partly = matches.split_new(best.filter(~known).join(elsewhere, on=IDENTITY, how="anti"))
    # Deterministic, so that a repetition gives the same bytes: the time is that of the message's arrival.
    added = added.with_columns(
        pl.col("ingested_at").alias("validated_at"),
        pl.lit(0, pl.Int64).alias("bronze_partition"),
        pl.lit(0, pl.Int64).alias("bronze_offset"),
        pl.col("published_at").alias("bronze_published_at"),
        pl.lit(f"{MARK}{rules.version}").alias("insert_token"),
    )
    named = [name for name in silver.columns if name in added.columns]
    types = pl.Schema({name: silver.schema[name] for name in named})
    gone = silver.join(best, on=IDENTITY, how="anti")
    founded = pl.DataFrame(bronze.select(["exchange", "symbol", "trade_id"])).rename({"symbol": "exchange_symbol"})
    is_moved = gone.join(moved, on=COORDINATES, how="semi")
    # A row that a live one came to after it had been added; the live one stays.
    outrun = silver.filter(pl.col("insert_token").str.starts_with(REDERIVED_TOKEN)).join(
        elsewhere.join(silver, on=[*IDENTITY, *COORDINATES], how="anti"), on=IDENTITY, how="semi"
    )
    removed = pl.concat([gone.join(founded, on=_SOURCE, how="semi"), is_moved, outrun]).unique(
        [*IDENTITY, *COORDINATES], maintain_order=True
    )
    altered = altered.join(outrun, on=IDENTITY, how="anti").select(named).cast(types)
    added = added.select(named).cast(types)
    # With the values Silver has, Silver's own message counts as the row, even if Bronze has merged it with another.
    place = (pl.when("same").then(f"{name}_old").otherwise(name).alias(name) for name in COORDINATES)
    stays = best.join(removed, on=IDENTITY, how="anti").filter(known).select(*IDENTITY, *place)
    rows = pl.concat([stays, added.select(stays.columns)]).with_columns(pl.lit(value=True).alias("is_row"))
    is_row = pl.col("is_row")
    # Where the row is elsewhere, that is what the other messages are compared with.
    away = pl.concat([best.filter(~known).select(IDENTITY), outrun.select(IDENTITY)])
    rests = best.join(elsewhere.join(away, on=IDENTITY, how="semi"), on=IDENTITY, how="anti")
    rests = rests.join(partly, on=COORDINATES, how="anti")
    held = pl.concat([versions_of(rests), versions_of(elsewhere.join(away, on=IDENTITY, how="semi"))])
    differing = contradicting(compare(fresh, held)).with_columns(reason=pl.lit(Reason.TRADE_CONTRADICTS.value))
    verdicts = pl.concat([wrong, _cold_coordinates(differing), partly], how="diagonal")
    contradictions = _cold_types(refuse(pl.DataFrame(bronze), verdicts))
    # Silver's own message may have merged in Bronze with one that says the same: that one's reject stands for it.
    same_content = matched.filter("same").select(COORDINATES)
    # Silver has their matches under other ids, which are in other buckets.
    covered = rests.filter(known.not_()).join(added, on=IDENTITY, how="anti").select(IDENTITY)
    covered = covered.with_columns(is_covered=pl.lit(value=True))
    passing = fresh.join(verdicts, on=COORDINATES, how="anti").select(
        *IDENTITY, *COORDINATES, "timestamp", "exchange_symbol", "received_at", "ingested_at"
    )
    passing = passing.join(covered, on=IDENTITY, how="left").with_columns(pl.col("is_covered").fill_null(value=False))
    return SilverDifference(
        added=added,
        removed=removed,
        altered=altered,
        replaced=silver.join(altered, on=IDENTITY, how="semi"),
        unfounded=gone.join(removed, on=[*IDENTITY, *COORDINATES], how="anti"),
        valid=passing.join(rows, on=[*IDENTITY, *COORDINATES], how="left").with_columns(is_row.fill_null(value=False)),
        rejects=pl.concat(
            [
                contradictions.join(same_content, on=COORDINATES, how="semi"),
                _cold_types(pl.DataFrame(refined.rejects)),
                contradictions.join(same_content, on=COORDINATES, how="anti"),
            ]
        ),
    )


def _cold_coordinates(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `COORDINATES` as the cold tables type them."""
    numbers, published = pl.col("raw_partition", "raw_offset"), pl.col("published_at")
    return rows.with_columns(numbers.cast(pl.Int64), published.cast(pl.Datetime("us", "UTC")))


def _cold_types(rows: pl.DataFrame) -> pl.DataFrame:
    """Columns as the cold tables type them."""
    if "sequence" in rows.columns and rows.schema["sequence"] == pl.UInt64:
        rows = rows.with_columns(pl.col("sequence").cast(pl.Decimal(20, 0)))
    rows = rows.with_columns(pl.col("published_at").cast(pl.Datetime("us", "UTC")))
    rows = rows.with_columns(pl.col(pl.UInt32, pl.UInt64).cast(pl.Int64))
    return rows.cast({"side": pl.String, "reason": pl.String} if "reason" in rows.columns else {"side": pl.String})
