"""Accepts another version of a trade: records the correction, then re-derives Silver, Gold and Iceberg.

From then on every validation uses the table `corrections`. So the next command finishes one that was killed, and a
repetition changes nothing. The version before stays in Raw, in earlier snapshots of Iceberg and, as a dead letter
(`trade_superseded`), in the counting proof.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And, EqualTo

from config.registry import SymbolRegistry
from config.valid_times import EARLIEST_US, END_US
from ddl.layers import load_layers
from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.server import server_now_us
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.difference.day import SILVER
from offload.files.scans import read_rows
from offload.rederive.run import DayReport, OnRederive, rederive
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.slices import DAY_US, GRACE_US, SECOND_US, instant
from schemas.coordinates import COORDINATES
from schemas.reasons import Reason
from schemas.records import BRONZE
from silver_processor.core.refine import refine
from silver_processor.core.rules import Rules
from silver_processor.core.versions import CONTENT, HELD, IDENTITY, compare, text_of

_MARKET = ["exchange", "symbol"]
_TIME = pl.Datetime("us", "UTC")
CORRECTION = pl.Schema([*HELD.items(), ("old_timestamp", _TIME), ("accepted_at", _TIME), ("is_applied", pl.UInt8())])


@dataclass(frozen=True)
class DeadLetterFilter:
    """Selects dead letters. `message` names one (topic, partition, offset); the other fields are filters, empty: all.

    `symbol` in the exchange's own spelling; the version's event time is in [`from_us`, `to_us`) (µs, UTC).
    """

    message: tuple[str, int, int] | None = None
    exchange: str = ""
    symbol: str = ""
    trade_id: str = ""
    from_us: int = EARLIEST_US
    to_us: int = END_US

    @property
    def parameters(self) -> Parameters:
        """The parameters of `sql/_accept_filter.sql`.

        A superseded version is included only if `message` names it.
        """
        reasons = [Reason.TRADE_CONTRADICTS.value, *([Reason.TRADE_SUPERSEDED.value] if self.message else [])]
        topic, partition, offset = self.message or ("", 0, 0)
        return {
            "reasons": reasons,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "exchange": self.exchange,
            "symbol": self.symbol,
            "trade_id": self.trade_id,
            "from_us": self.from_us,
            "to_us": self.to_us,
        }


class TradeVersion(BaseModel):
    """One version of a trade as text (price in quote, quantity in base currency), and its raw message id."""

    model_config = ConfigDict(frozen=True)

    price: str
    quantity: str
    timestamp: str
    side: str
    trade_kind: str
    message: str


class Correction(BaseModel):
    """A trade whose version changes. `field`: the column that differs; `old`: None if Silver has no version."""

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    trade_id: str
    field: str
    old: TradeVersion | None
    new: TradeVersion


@dataclass(frozen=True)
class AcceptPlan:
    """The changes of an acceptance. `trades` (`CORRECTION`): new versions; `old_timestamp` is null if Silver has none.

    `held` (`HELD`): the versions that they replace. `fields`: for each trade the column that differs. `agreeing`
    (`HELD`): dead letters that now agree with Silver. `unfinished` (`CORRECTION`): corrections that an interrupted
    command has recorded. `refused`: number of dead letters by the reason for which today's rules reject them.
    `not_over`: number of trades left out because one of their days is not over. `in_sums`: number of trades left out
    because Silver has their matches in other sums: accepting one would count matches twice, or lose matches.
    """

    trades: pl.DataFrame
    held: pl.DataFrame
    fields: pl.DataFrame
    agreeing: pl.DataFrame
    unfinished: pl.DataFrame
    refused: Mapping[str, int]
    not_over: int
    in_sums: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.trades.height or self.agreeing.height or self.unfinished.height)

    def corrections(self, most: int | None = None) -> list[Correction]:
        """The changes of `trades` for display; at most `most` of them."""
        trades = self.trades.head(most) if most is not None else self.trades
        shown = trades.join(self.fields, on=IDENTITY, how="left").with_columns(pl.col("field").fill_null(""))
        old = {
            tuple(row[name] for name in IDENTITY): _version(row)
            for row in _texts(self.held.join(trades, on=IDENTITY, how="semi"))
        }
        return [
            Correction(**{name: row[name] for name in IDENTITY}, field=field, old=old.get(key), new=_version(row))
            for row, field in zip(_texts(shown), shown["field"], strict=True)
            for key in [tuple(row[name] for name in IDENTITY)]
        ]

    def candles(self) -> dict[str, list[datetime]]:
        """By time frame, the starts of the candles that change, of all markets."""
        times = pl.concat([self.trades["timestamp"], self.trades["old_timestamp"].drop_nulls()]).dt.epoch("us")
        starts = {}
        for frame in load_layers().timeframes:
            width = frame.seconds * SECOND_US
            starts[frame.code] = [instant(start) for start in (times // width * width).unique().sort()]
        return starts

    def days(self) -> list[tuple[str, str, int]]:
        """The markets and UTC days (starts, µs) to re-derive, in order. A trade that moves leaves its old day first."""
        noted = pl.concat([self.trades, self.unfinished])
        leaving = noted.select(*_MARKET, pl.col("old_timestamp").alias("timestamp")).drop_nulls()
        coming = pl.concat([noted.select(*_MARKET, "timestamp"), self.agreeing.select(*_MARKET, "timestamp")])
        moved = noted.filter(_day("timestamp") != _day("old_timestamp")).select(*_MARKET, "timestamp")
        first = _days(pl.concat([leaving, coming]))
        # The new day is re-derived once more at the end, when the trade has left its old day.
        return first + _days(moved)


OnPhase = Callable[[str], None]


def plan_accept(tiers: Tiers, chosen: DeadLetterFilter) -> AcceptPlan:
    """The changes that accepting the newest chosen version of each trade would make. Writes nothing.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    hot = tiers.hot
    rules = Rules.of(SymbolRegistry.load(tiers.settings.symbols_file))
    dead_letters = _read(hot, "accept_dead_letters.sql", BRONZE.names, chosen.parameters).to_arrow().cast(BRONZE)
    refined = refine(dead_letters, rules)
    valid = pl.DataFrame(refined.valid)
    noted = read_hot(hot, "accept_corrections.sql", CORRECTION, chosen.parameters)
    candidates = valid if chosen.message else _newer_than_accepted(valid, noted)
    newest = candidates.sort("published_at", "raw_offset", descending=True).unique(IDENTITY, keep="first")
    hot_held = read_hot(hot, "accept_silver.sql", HELD, chosen.parameters)
    held = pl.concat([hot_held, cold_held(tiers.cold, newest.join(hot_held, on=IDENTITY, how="anti"))])
    whole = _summed_up_alike(newest, held, noted)
    in_sums, newest = newest.height - whole.height, whole
    compared = compare(newest, held)
    agrees = compared.filter(pl.col("is_known") & (pl.col("field") == ""))
    old = held.unique(IDENTITY).select(*IDENTITY, pl.col("timestamp").alias("old_timestamp"))
    differing = newest.join(agrees, on=COORDINATES, how="anti").join(old, on=IDENTITY, how="left")
    over_us = server_now_us(hot) - GRACE_US
    trades = corrections_of(differing, over_us)
    unfinished = noted.filter(pl.col("is_applied") == 0).join(trades, on=IDENTITY, how="anti")
    agreeing = newest.join(agrees, on=COORDINATES, how="semi").filter(_day("timestamp") + DAY_US <= over_us)
    return AcceptPlan(
        trades=trades,
        held=held,
        fields=compared.select(*IDENTITY, "field"),
        agreeing=agreeing.select(HELD.names()),
        unfinished=unfinished,
        refused=dict(pl.DataFrame(refined.rejects)["reason"].value_counts().iter_rows()),
        not_over=differing.height - trades.height,
        in_sums=in_sums,
    )


def corrections_of(trades: pl.DataFrame, over_us: int) -> pl.DataFrame:
    """Corrections (`CORRECTION`) of those trades (`HELD`, `old_timestamp`) whose days were over at `over_us` (µs)."""
    is_over = pl.max_horizontal(_day("timestamp"), _day("old_timestamp")) + DAY_US <= over_us
    accepted = pl.lit(datetime.now(UTC), _TIME)
    noted = trades.filter(is_over).with_columns(accepted_at=accepted, is_applied=pl.lit(0, pl.UInt8))
    return noted.select(CORRECTION.names()).cast(CORRECTION).sort(*_MARKET, "timestamp", "trade_id")


def accept(
    tiers: Tiers, plan: AcceptPlan, doing: OnPhase = lambda _: None, progress: OnRederive = lambda _: None
) -> list[DayReport]:
    """Record the corrections of a plan and re-derive Silver, Gold and Iceberg; returns a report of each market and day.

    Raises:
        OffloadError: as `offload.run.run` and `offload.rederive.run.rederive`; repeat the command to do the rest.
    """
    doing("Offloading what has arrived")
    run(tiers, until_now=True)
    if plan.trades.height:
        _record(tiers.hot, plan.trades)
    reports: dict[tuple[str, str, str], DayReport] = {}
    for exchange, symbol, day_us in plan.days():
        doing(f"Re-deriving {exchange} {symbol} {instant(day_us):%Y-%m-%d}")
        span = instant(day_us), instant(day_us + DAY_US)
        for report in rederive(tiers, *span, exchange=exchange, symbol=symbol, progress=progress):
            place = report.exchange, report.symbol, report.day
            # The day that a trade moves to is re-derived twice.
            reports[place] = reports[place].followed_by(report) if place in reports else report
    _record(tiers.hot, pl.concat([plan.trades, plan.unfinished]).with_columns(is_applied=pl.lit(1, pl.UInt8)))
    return [*reports.values()]


def _record(hot: HotStore, rows: pl.DataFrame) -> None:
    # If Silver has no version, the trade does not move.
    filled = rows.with_columns(pl.col("old_timestamp").fill_null(pl.col("timestamp")))
    if filled.height:
        hot.insert("corrections", filled.to_arrow(compat_level=pl.CompatLevel.oldest()))


def read_hot(hot: HotStore, name: str, columns: pl.Schema, parameters: Parameters) -> pl.DataFrame:
    """The rows that the statement in file `name` finds, with these columns.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    return _read(hot, name, columns.names(), parameters).select(columns.names()).cast(columns)


def _read(hot: HotStore, name: str, columns: Sequence[str], parameters: Parameters) -> pl.DataFrame:
    with hot.parquet(render(name, columns=columns), parameters) as chunks:
        return pl.read_parquet(io.BytesIO(b"".join(chunks)))


def _newer_than_accepted(valid: pl.DataFrame, noted: pl.DataFrame) -> pl.DataFrame:
    """Versions newer than the accepted one, and versions of trades without an accepted one."""
    accepted = noted.select(*IDENTITY, pl.col("published_at").alias("accepted"))
    versions = valid.join(accepted, on=IDENTITY, how="left")
    is_newer = pl.col("accepted").is_null() | (pl.col("published_at") > pl.col("accepted"))
    return versions.filter(is_newer).drop("accepted")


def _summed_up_alike(versions: pl.DataFrame, held: pl.DataFrame, noted: pl.DataFrame) -> pl.DataFrame:
    """The versions whose id Silver has with the same number of matches, or has a correction.

    A dead letter about a match of a sum has another id than the sum, so Silver has no trade with that id.
    """
    alike = held.select(*IDENTITY, held_count="match_count").unique(IDENTITY)
    met = versions.join(alike, on=IDENTITY, how="left", maintain_order="left")
    known = noted.select(IDENTITY).unique().with_columns(is_noted=pl.lit(value=True))
    met = met.join(known, on=IDENTITY, how="left", maintain_order="left")
    kept = (pl.col("held_count") == pl.col("match_count")).fill_null(pl.col("is_noted").fill_null(value=False))
    return met.filter(kept).select(versions.columns)


def cold_held(tier: ColdTier, wanted: pl.DataFrame) -> pl.DataFrame:
    """The versions that Iceberg has of trades (`IDENTITY`) that are no longer in hot Silver."""
    frames = [HELD.to_frame()]
    if wanted.height:
        table = tier.load(SILVER)
        for (exchange, symbol), trades in wanted.group_by(*_MARKET):
            ours = And(EqualTo("exchange", str(exchange)), EqualTo("symbol", str(symbol)))  # type: ignore[call-arg, arg-type]
            for piece in read_rows(table, ours, HELD.names()):
                frames.append(piece.join(trades, on=IDENTITY, how="semi").select(HELD.names()).cast(HELD))
    return pl.concat(frames)


def _day(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("us") // DAY_US * DAY_US


def _days(rows: pl.DataFrame) -> list[tuple[str, str, int]]:
    days = rows.select(*_MARKET, _day("timestamp").alias("day")).unique().sort(*_MARKET, "day")
    return [(str(exchange), str(symbol), int(day)) for exchange, symbol, day in days.iter_rows()]


def _texts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    message = pl.format("{}[{}]@{}", *COORDINATES[:3]).alias("message")
    return rows.select(*IDENTITY, *(text_of(name).alias(name) for name in CONTENT), message).to_dicts()


def _version(row: Mapping[str, str]) -> TradeVersion:
    return TradeVersion(**{name: row[name] for name in TradeVersion.model_fields})
