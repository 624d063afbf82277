"""Traces one trade or candle through every layer, hot and cold, and finds the first layer where a value changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from config.registry import SymbolRegistry
from ddl.layers import load_layers
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.proof.candle_trades import TradesOfCandle
from offload.proof.cold_rows import ColdRows, TracedRow, of_trade, readable, sums_of_market, text_of
from offload.proof.rejections import Coordinates, Rejection, coordinates_of, find_rejections
from offload.proof.trace_candle import CandleTrace, trace_candle, window_of
from offload.proof.value_changes import (
    ValueChange,
    bronze_to_silver,
    hot_to_cold,
    payload_to_raw,
    raw_to_bronze,
)
from producers.exchanges.model import id_number
from schemas.kinds import MOST_MATCHES

LAYERS = ("raw_trades", "bronze_trades", "silver_trades")
MISSING = "missing"


class Trace(BaseModel):
    """All rows of one trade, and where it ended.

    `sum_id`: the trade of Silver that sums up this match, if Silver does not have it under its own id, else `""`. The
    `sightings` have that trade's row, `candles` are that trade's. `message`: the raw message with the exchange's
    payload. `coordinates`: its Kafka topic, partition, offset and timestamp. `fate`: `silver`, `duplicate`,
    `rejected: <reason>` or `missing`. `rejections`: every dead letter of the trade, also the resolved ones, oldest
    first. `changes`: in the order of the layers.
    """

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    trade_id: str
    message: str
    coordinates: Coordinates | None
    fate: str
    sum_id: str
    sightings: tuple[TracedRow, ...]
    rejections: tuple[Rejection, ...]
    candles: tuple[CandleTrace, ...]
    changes: tuple[ValueChange, ...]


class Tracer:
    """Finds trades and candles in both tiers.

    Raises (every method):
        OffloadError: ClickHouse or the warehouse fails.
    """

    def __init__(self, tiers: Tiers) -> None:
        self._hot, self._cold = tiers.hot, ColdRows(tiers.cold.load_all())
        self._lookup = SymbolRegistry.load(tiers.settings.symbols_file).lookup

    def trade(self, exchange: str, symbol: str, trade_id: str) -> Trace:
        """Trace one trade; `symbol` canonical or as the exchange writes it."""
        symbols = self._names(exchange, symbol)
        key: dict[str, Any] = {"exchange": exchange, "symbols": symbols, "trade_id": trade_id}
        sightings = [*self._hot_rows(key), *self._cold_rows(exchange, symbols, trade_id)]
        rejections = find_rejections(
            self._hot, self._cold, exchange, symbols, trade_id, (coordinates_of(s.row) for s in sightings)
        )
        chosen = _choose(sightings)
        rows = {
            (s.layer, s.tier): s.row
            for s in sightings
            if chosen is None or s.layer == "silver_trades" or coordinates_of(s.row) == chosen
        }
        silver = rows.get(("silver_trades", "hot")) or rows.get(("silver_trades", "cold"))
        raw = rows.get(("raw_trades", "hot")) or rows.get(("raw_trades", "cold"))
        summed_up = None if silver else self._sum_of(exchange, symbols, trade_id)
        counted = silver or (summed_up.row if summed_up else None)
        candles = tuple(
            self.candle(frame.code, exchange, str(counted["symbol"]), counted["timestamp"])
            for frame in load_layers().timeframes
            if counted
        )
        fate = "silver" if silver else self._fate(key, rejections)
        changes = [*_changes(rows), *(change for candle in candles for change in candle.changes)]
        return Trace(
            exchange=exchange,
            symbol=symbol,
            trade_id=trade_id,
            message=text_of(raw["raw_json"]) if raw else "",
            coordinates=chosen,
            fate="silver" if summed_up and not sightings else fate,
            sum_id=text_of(summed_up.row["trade_id"]) if summed_up else "",
            sightings=(*sightings, summed_up) if summed_up else tuple(sightings),
            rejections=tuple(rejections),
            candles=candles,
            changes=tuple(changes),
        )

    def candle(self, timeframe: str, exchange: str, symbol: str, at: datetime) -> CandleTrace:
        """Trace the candle of `timeframe` (`1m` … `1d`) that holds `at`; `symbol` canonical or the exchange's own.

        Raises:
            KeyError: there is no such time frame.
        """
        return trace_candle(self._hot, self._cold, timeframe, exchange, self._canonical(exchange, symbol), at)

    def trades_of_candle(self, timeframe: str, exchange: str, symbol: str, at: datetime) -> TradesOfCandle:
        """The trades in the window of that candle.

        Raises:
            KeyError: there is no such time frame.
        """
        start, length = window_of(timeframe, at)
        return TradesOfCandle(self._hot, self._cold, exchange, self._canonical(exchange, symbol), start, length)

    def _canonical(self, exchange: str, symbol: str) -> str:
        canonical = {row["exchange_symbol"]: row["canonical"] for row in self._lookup if row["exchange"] == exchange}
        return symbol if symbol in canonical.values() else canonical.get(symbol, symbol)

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
                yield TracedRow(layer=layer, tier="hot", row=readable(row))

    def _cold_rows(self, exchange: str, symbols: list[str], trade_id: str) -> Iterable[TracedRow]:
        for layer in LAYERS:
            yield from self._cold.find(layer, of_trade(exchange, symbols, trade_id))

    def _sum_of(self, exchange: str, symbols: list[str], match_id: str) -> TracedRow | None:
        """The row of Silver that sums up a match, hot or cold."""
        number = id_number(match_id)
        if number is None:
            return None
        highest = min(number + MOST_MATCHES, 2**64) - 1
        wanted: dict[str, Any] = {"exchange": exchange, "symbols": symbols, "number": number, "highest": highest}
        for row in self._hot.rows(render("trace_sum.sql"), wanted):
            return TracedRow(layer="silver_trades", tier="hot", row=readable(row))
        for found in self._cold.find("silver_trades", sums_of_market(exchange, symbols)):
            last = id_number(text_of(found.row["trade_id"]))
            if last is not None and 0 <= last - number < found.row["match_count"]:
                return found
        return None

    def _fate(self, key: dict[str, Any], rejections: Sequence[Rejection]) -> str:
        still_open = [rejection for rejection in rejections if not rejection.landed]
        if still_open:
            return f"rejected: {still_open[-1].reason}"
        if self._hot.rows(_rows_of("duplicate_trades FINAL"), key):
            return "duplicate"
        # The hot table keeps duplicates only for its retention.
        wanted = of_trade(key["exchange"], key["symbols"], key["trade_id"])
        return next(("duplicate" for _ in self._cold.find("duplicate_trades", wanted)), MISSING)


def _rows_of(table: str, kafka_times: Sequence[str] = ("published_at",)) -> str:
    return render("trace_rows.sql", table=table, column="symbol", kafka_times=kafka_times)


def _changes(rows: dict[tuple[str, str], dict[str, Any]]) -> list[ValueChange]:
    """Changes in the order of the layers. For a row that is no longer hot, the cold row is used."""
    raw, bronze, silver = (rows.get((layer, "hot")) or rows.get((layer, "cold")) for layer in LAYERS)
    changes: list[ValueChange] = []
    if raw:
        changes += payload_to_raw(text_of(raw["raw_json"]), raw)
    changes += _copy("raw_trades", rows)
    if raw and bronze:
        changes += raw_to_bronze(raw, bronze)
    changes += _copy("bronze_trades", rows)
    if bronze and silver:
        changes += bronze_to_silver(bronze, silver)
    return changes + _copy("silver_trades", rows)


def _copy(layer: str, rows: dict[tuple[str, str], dict[str, Any]]) -> list[ValueChange]:
    hot, cold = rows.get((layer, "hot")), rows.get((layer, "cold"))
    return sorted(hot_to_cold(layer, hot, cold), key=lambda change: change.field) if hot and cold else []


def _choose(sightings: Iterable[TracedRow]) -> Coordinates | None:
    """The message that Silver's row comes from, else the first message."""
    ordered = sorted(sightings, key=lambda s: (s.layer != "silver_trades", s.tier != "hot"))
    return coordinates_of(ordered[0].row) if ordered else None
