"""Compares Silver by today's rules with the present Silver, and finds where each raw message belongs (pure).

The result for a trade id does not depend on other ids, so rows may be compared in buckets by trade id.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from offload.difference.match_index import MatchIndex
from schemas.coordinates import COORDINATES
from schemas.reasons import Reason
from silver_processor.core.refine import VALID, refine, refuse
from silver_processor.core.rules import Rules
from silver_processor.core.versions import compare, contradicting, overruled, versions_of

IDENTITY = ["exchange", "symbol", "trade_id"]
# Columns that depend on the run or the delivery. All others follow from the message and the rules.
_CIRCUMSTANCES = {*IDENTITY, *COORDINATES, "received_at", "ingested_at", "rules_version"}
VALUES = [name for name in VALID.names if name not in _CIRCUMSTANCES]
# Prefix of the insert token of every row that a re-derivation added.
REDERIVED_TOKEN = "rederive:"  # noqa: S105 - no secret
_STAMPS = ["validated_at", "bronze_partition", "bronze_offset", "bronze_published_at", "insert_token"]
_SOURCE = ["exchange", "exchange_symbol", "trade_id"]


@dataclass(frozen=True, slots=True)
class SilverDifference:
    """The difference between Silver's rows by today's rules and the present rows, by identity.

    New rows are `added` or `altered`. Old rows are `removed`, or `replaced` by the altered ones. Of several rows of a
    trade one stays; those `removed` that are of another message than that one are also `repeated`. `unfounded` old rows
    have no Bronze row. No rule rejects them, so they stay.

    `valid`: all messages that pass, with identity, coordinates and `timestamp`. `is_row`: Silver's row comes from this
    message. `is_covered`: Silver has its matches under other ids. `rejects` (`REJECT_COLUMNS`): all other messages.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    repeated: pl.DataFrame
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

    One message of an identity becomes the row: the message whose values Silver has, else the message that Silver's row
    names, else the accepted one, else the earliest. Messages that `corrections` (`HELD`) overrule never become the row.
    Messages that contradict the row are rejects.

    `elsewhere` (`HELD`): rows that Silver has on another day or in hours that are not in Iceberg yet. Their trades are
    not added here, and rows of the same trades that an earlier re-derivation added are removed. `moved` (coordinates):
    messages that Bronze now has on another day. `matches`: the matches that Silver has. A message without a new match
    is a duplicate.
    """
    refined = refine(bronze, rules)
    valid = pl.DataFrame(refined.valid)
    superseded = _cold_coordinates(overruled(compare(valid, corrections)))
    silver = silver.with_row_index("place")
    renamed = {name: f"{name}_old" for name in [*VALUES, *COORDINATES, *_STAMPS]}
    old = silver.select([*IDENTITY, *VALUES, *COORDINATES, *_STAMPS, "place"]).rename(renamed)
    has_same_values = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_old")) for name in VALUES)
    is_own = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_old")) for name in COORDINATES)
    matched = (
        _cold_types(valid)
        .join(old, on=IDENTITY, how="left")
        .with_columns(has_same_values.alias("same"), is_own.alias("own"))
    )
    accepted = _cold_coordinates(corrections).select(*COORDINATES, accepted=pl.lit(value=True))
    candidates = matched.join(superseded, on=COORDINATES, how="anti").join(accepted, on=COORDINATES, how="left")
    ranked = candidates.with_columns(pl.col("accepted").fill_null(value=False)).sort(
        "same",
        "own",
        "accepted",
        "ingested_at",
        *COORDINATES,
        "place",
        descending=[True] * 3 + [False] * (2 + len(COORDINATES)),
    )
    best = ranked.unique(IDENTITY, keep="first", maintain_order=True)
    is_known = pl.col("validated_at_old").is_not_null()
    altered = best.filter(is_known & ~pl.col("same")).with_columns(
        pl.col(f"{name}_old").alias(name) for name in _STAMPS
    )
    added, partly = matches.split_new(best.filter(~is_known).join(elsewhere, on=IDENTITY, how="anti"))
    # The times come from the message, so that a repetition writes the same bytes.
    added = added.with_columns(
        pl.col("ingested_at").alias("validated_at"),
        pl.lit(0, pl.Int64).alias("bronze_partition"),
        pl.lit(0, pl.Int64).alias("bronze_offset"),
        pl.col("published_at").alias("bronze_published_at"),
        pl.lit(f"{REDERIVED_TOKEN}{rules.version}").alias("insert_token"),
    )
    named = [name for name in silver.columns if name in added.columns]
    types = pl.Schema({name: silver.schema[name] for name in named})
    leaving = silver.join(best, on=IDENTITY, how="anti")
    bronze_identities = pl.DataFrame(bronze.select(["exchange", "symbol", "trade_id"])).rename(
        {"symbol": "exchange_symbol"}
    )
    is_moved = leaving.join(moved, on=COORDINATES, how="semi")
    # Rows that a re-derivation added before the stream brought the same trade. The stream's row stays instead.
    overtaken = silver.filter(pl.col("insert_token").str.starts_with(REDERIVED_TOKEN)).join(
        elsewhere.join(silver, on=[*IDENTITY, *COORDINATES], how="anti"), on=IDENTITY, how="semi"
    )
    # Silver should hold a trade once. If it holds several rows, one stays.
    stays = best.filter(is_known & pl.col("same")).select(
        *IDENTITY, *(f"{name}_old" for name in COORDINATES), kept="place"
    )
    repeated = silver.join(stays, on=IDENTITY).filter(pl.col("place") != pl.col("kept"))
    is_other = pl.any_horizontal(pl.col(name) != pl.col(f"{name}_old") for name in COORDINATES)
    gone = pl.concat([leaving.join(bronze_identities, on=_SOURCE, how="semi"), is_moved, overtaken]).unique(
        "place", maintain_order=True
    )
    removed = pl.concat([gone, repeated.select(silver.columns)]).unique("place", maintain_order=True)
    altered = altered.join(overtaken, on=IDENTITY, how="anti").select(named).cast(types)
    added = added.select(named).cast(types)
    # With the same values the row keeps the message that it names, even if Bronze has merged that with another.
    coordinates = (pl.when("same").then(f"{name}_old").otherwise(name).alias(name) for name in COORDINATES)
    staying = best.join(gone, on=IDENTITY, how="anti").filter(is_known).select(*IDENTITY, *coordinates)
    rows = pl.concat([staying, added.select(staying.columns)]).with_columns(pl.lit(value=True).alias("is_row"))
    is_row = pl.col("is_row")
    # If the row is elsewhere, the messages are compared with that row.
    rows_elsewhere = pl.concat([best.filter(~is_known).select(IDENTITY), overtaken.select(IDENTITY)])
    kept_rows = best.join(elsewhere.join(rows_elsewhere, on=IDENTITY, how="semi"), on=IDENTITY, how="anti")
    kept_rows = kept_rows.join(partly, on=COORDINATES, how="anti")
    held = pl.concat([versions_of(kept_rows), versions_of(elsewhere.join(rows_elsewhere, on=IDENTITY, how="semi"))])
    contradictions = contradicting(compare(candidates, held)).with_columns(
        reason=pl.lit(Reason.TRADE_CONTRADICTS.value)
    )
    verdicts = pl.concat([superseded, _cold_coordinates(contradictions), partly], how="diagonal")
    rejected_versions = _cold_types(refuse(pl.DataFrame(bronze), verdicts))
    # Bronze may have merged the row's message with one of the same content. The reject of that one stands for both.
    same_content = matched.filter("same").select(COORDINATES)
    # Silver has the matches of these messages under other ids, which are in other buckets.
    covered = kept_rows.filter(is_known.not_()).join(added, on=IDENTITY, how="anti").select(IDENTITY)
    covered = covered.with_columns(is_covered=pl.lit(value=True))
    passing = candidates.join(verdicts, on=COORDINATES, how="anti").select(
        *IDENTITY, *COORDINATES, "timestamp", "exchange_symbol", "received_at", "ingested_at"
    )
    passing = passing.join(covered, on=IDENTITY, how="left").with_columns(pl.col("is_covered").fill_null(value=False))
    return SilverDifference(
        added=added,
        removed=removed,
        repeated=repeated.filter(is_other).select(silver.columns),
        altered=altered,
        replaced=silver.join(altered, on=IDENTITY, how="semi"),
        unfounded=leaving.join(removed, on=[*IDENTITY, *COORDINATES], how="anti"),
        valid=passing.join(rows, on=[*IDENTITY, *COORDINATES], how="left").with_columns(is_row.fill_null(value=False)),
        rejects=pl.concat(
            [
                rejected_versions.join(same_content, on=COORDINATES, how="semi"),
                _cold_types(pl.DataFrame(refined.rejects)),
                rejected_versions.join(same_content, on=COORDINATES, how="anti"),
            ]
        ),
    )


def _cold_coordinates(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose coordinates have the types of the cold tables."""
    numbers, published = pl.col("raw_partition", "raw_offset"), pl.col("published_at")
    return rows.with_columns(numbers.cast(pl.Int64), published.cast(pl.Datetime("us", "UTC")))


def _cold_types(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns with the types of the cold tables."""
    if "sequence" in rows.columns and rows.schema["sequence"] == pl.UInt64:
        rows = rows.with_columns(pl.col("sequence").cast(pl.Decimal(20, 0)))
    rows = rows.with_columns(pl.col("published_at").cast(pl.Datetime("us", "UTC")))
    rows = rows.with_columns(pl.col(pl.UInt32, pl.UInt64).cast(pl.Int64))
    return rows.cast({"side": pl.String, "reason": pl.String} if "reason" in rows.columns else {"side": pl.String})
