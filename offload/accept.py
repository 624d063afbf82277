"""Another version of a trade accepted as the right one: the correction is noted, then Silver, Gold and Iceberg follow.

The note (`corrections`) is what every judgement honours from then on, so a command that was killed is finished by the
next one, and one that is repeated changes nothing. The version before stays in Raw, in the earlier snapshots of Iceberg
and, as a dead letter (`trade_superseded`), in the counting proof.
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
from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp, HotStore, Parameters
from offload.clickhouse.templates import render
from offload.difference.day import SILVER
from offload.errors import OffloadError
from offload.files.scans import read_rows
from offload.proof.sources import EARLIEST_US, LATEST_US
from offload.rederive.run import DayReport, OnRederive, rederive
from offload.run import run
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.slices import DAY_US, GRACE_US, SECOND_US, instant
from schemas.reasons import Reason
from schemas.records import BRONZE
from silver_processor.core.refine import PLACE, refine
from silver_processor.core.rules import Rules
from silver_processor.core.versions import CONTENT, HELD, IDENTITY, compare, text_of

_MARKET = ["exchange", "symbol"]
_TIME = pl.Datetime("us", "UTC")
_CORRECTION = pl.Schema([*HELD.items(), ("old_timestamp", _TIME), ("accepted_at", _TIME), ("is_applied", pl.UInt8())])


class AcceptError(OffloadError):
    """What was accepted could not be brought into Silver; the message says what to do."""


@dataclass(frozen=True)
class LetterFilter:
    """Which dead letters: `place` names one message (topic, partition, offset), the rest narrows; empty: all.

    `symbol` in the exchange's own spelling; the version's event time is in [`from_us`, `to_us`) (µs, UTC).
    """

    place: tuple[str, int, int] | None = None
    exchange: str = ""
    symbol: str = ""
    trade_id: str = ""
    from_us: int = EARLIEST_US
    to_us: int = LATEST_US

    @property
    def parameters(self) -> Parameters:
        """The parameters of `sql/_accept_filter.sql`.

        A superseded version is meant only where it is named itself.
        """
        reasons = [Reason.TRADE_CONTRADICTS.value, *([Reason.TRADE_SUPERSEDED.value] if self.place else [])]
        topic, partition, offset = self.place or ("", 0, 0)
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
    """What a message says of a trade (price in quote, quantity in base currency), as text, and which message."""

    model_config = ConfigDict(frozen=True)

    price: str
    quantity: str
    timestamp: str
    side: str
    trade_kind: str
    message: str


class Correction(BaseModel):
    """A trade whose version would be, or is, another: `field` names what differs; `old` is None where none is held."""

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    trade_id: str
    field: str
    old: TradeVersion | None
    new: TradeVersion


@dataclass(frozen=True)
class AcceptPlan:
    """What accepting means. `trades`: columns `_CORRECTION` (`old_timestamp` null where no version is held).

    `held` are the versions they replace (`HELD`), `fields` names what differs in each of the trades. `agreeing` letters
    (`HELD`) say by now what Silver has and only need to be settled; `unfinished` (`_CORRECTION`) are corrections that an
    interrupted command has noted. `refused`: letters by the reason for which today's rules reject them. `not_over`:
    trades left out because a day of theirs is not over.
    """

    trades: pl.DataFrame
    held: pl.DataFrame
    fields: pl.DataFrame
    agreeing: pl.DataFrame
    unfinished: pl.DataFrame
    refused: Mapping[str, int]
    not_over: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.trades.height or self.agreeing.height or self.unfinished.height)

    def corrections(self, most: int | None = None) -> list[Correction]:
        """The trades for people, at most so many."""
        some = self.trades.head(most) if most is not None else self.trades
        told = some.join(self.fields, on=IDENTITY, how="left").with_columns(pl.col("field").fill_null(""))
        old = {
            tuple(row[name] for name in IDENTITY): _version(row)
            for row in _texts(self.held.join(some, on=IDENTITY, how="semi"))
        }
        return [
            Correction(**{name: row[name] for name in IDENTITY}, field=field, old=old.get(key), new=_version(row))
            for row, field in zip(_texts(told), told["field"], strict=True)
            for key in [tuple(row[name] for name in IDENTITY)]
        ]

    def candles(self) -> dict[str, list[datetime]]:
        """By time frame, the starts of the windows that change, of all markets."""
        times = pl.concat([self.trades["timestamp"], self.trades["old_timestamp"].drop_nulls()]).dt.epoch("us")
        found = {}
        for frame in load_layers().timeframes:
            width = frame.seconds * SECOND_US
            found[frame.code] = [instant(start) for start in (times // width * width).unique().sort()]
        return found

    def days(self) -> list[tuple[str, str, int]]:
        """The markets and UTC days (starts, µs) to be re-derived, in order: a trade that moves leaves its day first."""
        noted = pl.concat([self.trades, self.unfinished])
        left = noted.select(*_MARKET, pl.col("old_timestamp").alias("timestamp")).drop_nulls()
        come = pl.concat([noted.select(*_MARKET, "timestamp"), self.agreeing.select(*_MARKET, "timestamp")])
        moved = noted.filter(_day("timestamp") != _day("old_timestamp")).select(*_MARKET, "timestamp")
        first = _days(pl.concat([left, come]))
        # By then it has left its old day for certain, whichever of the two comes first.
        return first + _days(moved)


OnPhase = Callable[[str], None]


def plan_accept(settings: Settings, chosen: LetterFilter, hot: HotStore | None = None) -> AcceptPlan:
    """What accepting the newest of the chosen versions of each trade means; changes nothing.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    rules = Rules.of(SymbolRegistry.load(settings.symbols_file))
    letters = _read(store, "accept_letters.sql", BRONZE.names, chosen).to_arrow().cast(BRONZE)
    refined = refine(letters, rules)
    valid = pl.DataFrame(refined.valid)
    noted = _read(store, "accept_corrections.sql", list(_CORRECTION), chosen).select(_CORRECTION.names()).cast(_CORRECTION)
    candidates = valid if chosen.place else _newer_than_accepted(valid, noted)
    newest = candidates.sort("published_at", "raw_offset", descending=True).unique(IDENTITY, keep="first")
    hot_held = _read(store, "accept_silver.sql", HELD.names(), chosen).select(HELD.names()).cast(HELD)
    held = pl.concat([hot_held, _cold_held(settings, newest.join(hot_held, on=IDENTITY, how="anti"))])
    compared = compare(newest, held)
    agrees = compared.filter(pl.col("is_known") & (pl.col("field") == ""))
    old = held.unique(IDENTITY).select(*IDENTITY, pl.col("timestamp").alias("old_timestamp"))
    differing = newest.join(agrees, on=PLACE, how="anti").join(old, on=IDENTITY, how="left")
    over_us = int(store.rows(render("clock.sql"), {})[0]["now_us"]) - GRACE_US
    is_over = pl.max_horizontal(_day("timestamp"), _day("old_timestamp")) + DAY_US <= over_us
    accepted = pl.lit(datetime.now(UTC), _TIME)
    trades = differing.filter(is_over).with_columns(accepted_at=accepted, is_applied=pl.lit(0, pl.UInt8))
    trades = trades.select(_CORRECTION.names()).cast(_CORRECTION).sort(*_MARKET, "timestamp", "trade_id")
    unfinished = noted.filter(pl.col("is_applied") == 0).join(trades, on=IDENTITY, how="anti")
    agreeing = newest.join(agrees, on=PLACE, how="semi").filter(_day("timestamp") + DAY_US <= over_us)
    return AcceptPlan(
        trades=trades,
        held=held,
        fields=compared.select(*IDENTITY, "field"),
        agreeing=agreeing.select(HELD.names()),
        unfinished=unfinished,
        refused=dict(pl.DataFrame(refined.rejects)["reason"].value_counts().iter_rows()),
        not_over=differing.height - trades.height,
    )


def accept(
    settings: Settings,
    wanted: AcceptPlan,
    hot: HotStore | None = None,
    doing: OnPhase = lambda _: None,
    progress: OnRederive = lambda _: None,
) -> list[DayReport]:
    """Note the corrections of a plan and let Silver, Gold and Iceberg follow; each day's report.

    Raises:
        OffloadError: as `offload.run.run` and `offload.rederive.run.rederive`; the same command again does the rest.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    doing("Offloading what has arrived")
    run(settings, until_now=True, hot=store)
    if wanted.trades.height:
        _note(store, wanted.trades)
    reports = []
    for exchange, symbol, day_us in wanted.days():
        doing(f"Re-deriving {exchange} {symbol} {instant(day_us):%Y-%m-%d}")
        span = instant(day_us), instant(day_us + DAY_US)
        reports += rederive(settings, *span, exchange=exchange, symbol=symbol, hot=store, progress=progress)
    _note(store, pl.concat([wanted.trades, wanted.unfinished]).with_columns(is_applied=pl.lit(1, pl.UInt8)))
    return reports


def _note(store: HotStore, rows: pl.DataFrame) -> None:
    # A trade of which no version was held has none that moves.
    filled = rows.with_columns(pl.col("old_timestamp").fill_null(pl.col("timestamp")))
    if filled.height:
        store.insert("corrections", filled.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _read(store: HotStore, name: str, columns: Sequence[str], chosen: LetterFilter) -> pl.DataFrame:
    with store.parquet(render(name, columns=columns), chosen.parameters) as chunks:
        return pl.read_parquet(io.BytesIO(b"".join(chunks)))


def _newer_than_accepted(valid: pl.DataFrame, noted: pl.DataFrame) -> pl.DataFrame:
    """Versions that came after the one that stands accepted, or is of a trade without one."""
    stands = noted.select(*IDENTITY, pl.col("published_at").alias("accepted"))
    met = valid.join(stands, on=IDENTITY, how="left")
    return met.filter(pl.col("accepted").is_null() | (pl.col("published_at") > pl.col("accepted"))).drop("accepted")


def _cold_held(settings: Settings, wanted: pl.DataFrame) -> pl.DataFrame:
    """The versions that Iceberg has of trades (`IDENTITY`) that have left hot Silver."""
    found = [HELD.to_frame()]
    if wanted.height:
        table = ensure_tables(open_catalog(settings), settings.iceberg_namespace)[SILVER.name]
        for (exchange, symbol), trades in wanted.group_by(*_MARKET):
            ours = And(EqualTo("exchange", str(exchange)), EqualTo("symbol", str(symbol)))  # type: ignore[call-arg, arg-type]
            for piece in read_rows(table, ours, HELD.names()):
                found.append(piece.join(trades, on=IDENTITY, how="semi").select(HELD.names()).cast(HELD))
    return pl.concat(found)


def _day(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("us") // DAY_US * DAY_US


def _days(rows: pl.DataFrame) -> list[tuple[str, str, int]]:
    days = rows.select(*_MARKET, _day("timestamp").alias("day")).unique().sort(*_MARKET, "day")
    return [(str(exchange), str(symbol), int(day)) for exchange, symbol, day in days.iter_rows()]


def _texts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    message = pl.format("{}[{}]@{}", *PLACE[:3]).alias("message")
    return rows.select(*IDENTITY, *(text_of(name).alias(name) for name in CONTENT), message).to_dicts()


def _version(row: Mapping[str, str]) -> TradeVersion:
    return TradeVersion(**{name: row[name] for name in TradeVersion.model_fields})
