"""One trade, or one candle, through every layer, hot and cold, and the first layer where a value changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And, BooleanExpression, EqualTo, In
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table

from config.registry import SymbolRegistry
from ddl.layers import Timeframe, load_layers
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.proof.value_changes import (
    Row,
    ValueChange,
    bronze_to_silver,
    candle_to_candle,
    hot_to_cold,
    payload_to_raw,
    raw_to_bronze,
)
from offload.tables.slice_records import SUMMARY_ATTEMPT

LAYERS = ("raw_trades", "bronze_trades", "silver_trades")
Coordinates = tuple[str, int, int, datetime]


class TracedRow(BaseModel):
    """A row of the trade in one layer and tier; of a cold row its file and, until it expires, its snapshot."""

    model_config = ConfigDict(frozen=True)

    layer: str
    tier: str
    row: dict[str, Any]
    file: str = ""
    snapshot_id: int | None = None


class CandleTrace(BaseModel):
    """A candle as Silver's rows make it, as the hot view shows it and as Iceberg has it; null where there is none."""

    model_config = ConfigDict(frozen=True)

    timeframe: str
    window_start: datetime
    from_silver: dict[str, Any] | None
    hot: dict[str, Any] | None
    cold: TracedRow | None
    changes: tuple[ValueChange, ...]


class Trace(BaseModel):
    """All rows of one trade, and what became of it.

    `message`: the raw message with the exchange's payload. `coordinates`: its Kafka topic, partition, offset and
    timestamp. `fate`: `silver`, `duplicate`, `rejected: <reason>` or `missing`. `changes`: in the order of the layers.
    """

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    trade_id: str
    message: str
    coordinates: tuple[str, int, int, datetime] | None
    fate: str
    sightings: tuple[TracedRow, ...]
    candles: tuple[CandleTrace, ...]
    changes: tuple[ValueChange, ...]

    @property
    def first_change(self) -> ValueChange | None:
        """The first layer where a value changed."""
        return self.changes[0] if self.changes else None


class Tracer:
    """Finds trades and candles in both tiers.

    Raises (every method):
        OffloadError: ClickHouse or the warehouse fails.
    """

    def __init__(self, tiers: Tiers) -> None:
        self._hot, self._tables = tiers.hot, tiers.cold.load_all()
        self._lookup = SymbolRegistry.load(tiers.settings.symbols_file).lookup

    def trade(self, exchange: str, symbol: str, trade_id: str) -> Trace:
        """Trace one trade; `symbol` canonical or as the exchange writes it."""
        symbols = self._names(exchange, symbol)
        key: dict[str, Any] = {"exchange": exchange, "symbols": symbols, "trade_id": trade_id}
        sightings = [*self._hot_rows(key), *self._cold_rows(exchange, symbols, trade_id)]
        chosen = _choose(sightings)
        rows = {
            (s.layer, s.tier): s.row
            for s in sightings
            if chosen is None or s.layer == "silver_trades" or _coordinates(s.row) == chosen
        }
        silver = rows.get(("silver_trades", "hot")) or rows.get(("silver_trades", "cold"))
        raw = rows.get(("raw_trades", "hot")) or rows.get(("raw_trades", "cold"))
        candles = tuple(
            self.candle(frame.code, exchange, str(silver["symbol"]), silver["timestamp"])
            for frame in load_layers().timeframes
            if silver
        )
        changes = [*_changes(rows), *(change for candle in candles for change in candle.changes)]
        return Trace(
            exchange=exchange,
            symbol=symbol,
            trade_id=trade_id,
            message=_text(raw["raw_json"]) if raw else "",
            coordinates=chosen,
            fate="silver" if silver else self._fate(key),
            sightings=tuple(sightings),
            candles=candles,
            changes=tuple(changes),
        )

    def candle(self, timeframe: str, exchange: str, symbol: str, at: datetime) -> CandleTrace:
        """Trace the candle of `timeframe` (`1m` … `1d`) that holds `at`, of a canonical symbol.

        Raises:
            KeyError: there is no such time frame.
        """
        frame: Timeframe = {frame.code: frame for frame in load_layers().timeframes}[timeframe]
        moment = at if at.tzinfo else at.replace(tzinfo=UTC)
        start_s = int(moment.timestamp()) // frame.seconds * frame.seconds
        span: dict[str, str | int | list[str]] = {
            "exchange": exchange,
            "symbol": symbol,
            "start_s": start_s,
            "seconds": frame.seconds,
        }
        found = {
            row.pop("source"): row for row in self._hot.rows(render("trace_candle.sql", view=frame.exact_view), span)
        }
        start = datetime.fromtimestamp(start_s, UTC)
        cold_rows = self._scan(
            frame.view,
            And(_equals("exchange", exchange), _equals("symbol", symbol), _equals("window_start", start.isoformat())),
        )
        cold = next(iter(cold_rows), None)
        made, shown = found.get("silver"), found.get("view")
        changes: list[ValueChange] = []
        if made and shown:
            changes += candle_to_candle(frame.view, made, shown)
        before = shown or made
        if before and cold:
            changes += candle_to_candle(f"cold.{frame.view}", before, cold.row)
        return CandleTrace(
            timeframe=timeframe, window_start=start, from_silver=made, hot=shown, cold=cold, changes=tuple(changes)
        )

    def _names(self, exchange: str, symbol: str) -> list[str]:
        rows = [row for row in self._lookup if row["exchange"] == exchange]
        canonical = {row["canonical"] for row in rows if symbol in {row["canonical"], row["exchange_symbol"]}}
        others = {row["exchange_symbol"] for row in rows if row["canonical"] in canonical}
        return sorted({symbol} | canonical | others)

    def _hot_rows(self, key: dict[str, Any]) -> Iterable[TracedRow]:
        statements = {
            "raw_trades": render("trace_raw.sql"),
            "bronze_trades": _rows_of("bronze_trades FINAL"),
            "silver_trades": _rows_of("silver_trades", ("published_at", "bronze_published_at")),
        }
        for layer in LAYERS:
            for row in self._hot.rows(statements[layer], key):
                yield TracedRow(layer=layer, tier="hot", row=_readable(row))

    def _cold_rows(self, exchange: str, symbols: list[str], trade_id: str) -> Iterable[TracedRow]:
        for layer in LAYERS:
            yield from self._scan(layer, _trade(exchange, symbols, trade_id))

    def _scan(self, name: str, wanted: BooleanExpression) -> Iterable[TracedRow]:
        """Matching cold rows, file by file, in bounded memory."""
        table: Table = self._tables[name]
        scan = table.scan(row_filter=wanted)
        arrow = ArrowScan(table.metadata, table.io, scan.projection(), wanted)
        written_by = {
            snapshot.summary[SUMMARY_ATTEMPT]: snapshot.snapshot_id
            for snapshot in table.metadata.snapshots
            if snapshot.summary
        }
        for task in scan.plan_files():
            path = task.file.file_path
            snapshot_id = written_by.get(path.rpartition("/")[2].partition("-")[0])
            for batch in arrow.to_record_batches([task]):
                for row in batch.to_pylist():
                    yield TracedRow(layer=name, tier="cold", row=_readable(row), file=path, snapshot_id=snapshot_id)

    def _fate(self, key: dict[str, Any]) -> str:
        rejects = self._hot.rows(_rows_of("dlq_trades", without="payload"), key)
        if rejects:
            return f"rejected: {rejects[0]['reason']}"
        if self._hot.rows(_rows_of("duplicate_trades FINAL"), key):
            return "duplicate"
        # Neither table is hot for longer than its retention.
        wanted = _trade(key["exchange"], key["symbols"], key["trade_id"])
        for letter in self._scan("dlq_trades", wanted):
            return f"rejected: {letter.row['reason']}"
        return next(("duplicate" for _ in self._scan("duplicate_trades", wanted)), "missing")


def _rows_of(table: str, kafka_times: Sequence[str] = ("published_at",), without: str = "") -> str:
    return render("trace_rows.sql", table=table, column="symbol", kafka_times=kafka_times, without=without)


def _changes(rows: dict[tuple[str, str], dict[str, Any]]) -> list[ValueChange]:
    """Changes in the order of the layers. Where a row is no longer hot, the cold row is used."""
    raw, bronze, silver = (rows.get((layer, "hot")) or rows.get((layer, "cold")) for layer in LAYERS)
    found: list[ValueChange] = []
    if raw:
        found += payload_to_raw(_text(raw["raw_json"]), raw)
    found += _copy("raw_trades", rows)
    if raw and bronze:
        found += raw_to_bronze(raw, bronze)
    found += _copy("bronze_trades", rows)
    if bronze and silver:
        found += bronze_to_silver(bronze, silver)
    return found + _copy("silver_trades", rows)


def _copy(layer: str, rows: dict[tuple[str, str], dict[str, Any]]) -> list[ValueChange]:
    hot, cold = rows.get((layer, "hot")), rows.get((layer, "cold"))
    return sorted(hot_to_cold(layer, hot, cold), key=lambda change: change.field) if hot and cold else []


def _choose(sightings: Iterable[TracedRow]) -> Coordinates | None:
    """The message that Silver's row is made of, else the first message."""
    ordered = sorted(sightings, key=lambda s: (s.layer != "silver_trades", s.tier != "hot"))
    return _coordinates(ordered[0].row) if ordered else None


def _coordinates(row: Row) -> Coordinates:
    return str(row["raw_topic"]), int(row["raw_partition"]), int(row["raw_offset"]), row["published_at"]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """Bytes as text, and aware times: those of ClickHouse are UTC without a zone."""
    return {name: _read(value) for name, value in row.items()}


def _read(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return _text(value) if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _trade(exchange: str, symbols: list[str], trade_id: str) -> BooleanExpression:
    return And(_equals("exchange", exchange), _in("symbol", symbols), _equals("trade_id", trade_id))


# pyiceberg accepts plain names and values here; its annotations do not say so.
def _equals(column: str, value: str) -> BooleanExpression:
    return EqualTo(column, value)  # type: ignore[call-arg, arg-type]


def _in(column: str, values: list[str]) -> BooleanExpression:
    return In(column, values)  # type: ignore[call-arg, arg-type]
