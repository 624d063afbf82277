"""Traces one trade or candle through every layer, hot and cold, and finds the first layer where a value changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from config.registry import SymbolRegistry
from ddl.layers import load_layers
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.proof.candle_trades import TradesOfCandle
from offload.proof.cold_rows import ColdRows, TracedRow, of_message, of_trade, readable, sums_of_market, text_of
from offload.proof.rejections import Coordinates, Rejection, coordinates_of, find_rejections
from offload.proof.trace_candle import CandleTrace, trace_candle, window_of
from offload.proof.value_changes import (
    ValueChange,
    bronze_to_silver,
    hot_to_cold,
    payload_to_raw,
    raw_to_bronze,
)
from offload.tables.slices import micros
from producers.exchanges.model import id_number
from schemas.kinds import MOST_MATCHES

LAYERS = ("raw_trades", "bronze_trades", "silver_trades")
MISSING = "missing"
# The hot tables by layer, each with its columns of Kafka times.
_HOT_ROWS = {
    "bronze_trades": ("bronze_trades FINAL", ("published_at",)),
    "silver_trades": ("silver_trades", ("published_at", "bronze_published_at")),
}


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
        sightings = self._sightings(key)
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
        changes = [*_changes(rows), *_doubled(sightings), *(change for candle in candles for change in candle.changes)]
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

    def _sightings(self, key: dict[str, Any]) -> list[TracedRow]:
        """The rows of a trade in every layer, hot and then cold, in the order of the layers."""
        found = [row for layer in LAYERS for row in self._find(layer, key, "symbol")]
        if not any(row.layer == "silver_trades" for row in found):
            # A market that was renamed has its trades under the old name until they are re-derived.
            found += self._find("silver_trades", key, "exchange_symbol")
        silver = next((row.row for row in found if row.layer == "silver_trades"), None)
        for layer in LAYERS[:2] if silver else ():
            coordinates = coordinates_of(silver or {})
            # A message that Bronze could not read has no trade id, and may be a trade by now (`medallion dlq replay`).
            if not any(row.layer == layer and coordinates_of(row.row) == coordinates for row in found):
                found += self._of_message(layer, coordinates)
        return sorted(found, key=lambda row: (row.tier != "hot", LAYERS.index(row.layer)))

    def _find(self, layer: str, key: dict[str, Any], column: str) -> list[TracedRow]:
        """The rows of a layer with the trade's id, and one of the market's names in `column`."""
        hot = self._hot_rows(layer, key, column)
        return [*hot, *self._cold.find(layer, of_trade(key["exchange"], key["symbols"], key["trade_id"], column))]

    def _of_message(self, layer: str, coordinates: Coordinates) -> list[TracedRow]:
        """The rows of a layer from one raw message."""
        topic, partition, offset, published = coordinates
        place: dict[str, Any] = {
            "raw_topic": topic,
            "raw_partition": partition,
            "raw_offset": offset,
            "published_ms": micros(published) // 1000,
        }
        cold = self._cold.find(layer, of_message(topic, partition, offset))
        return [*self._hot_rows(layer, place), *(row for row in cold if coordinates_of(row.row) == coordinates)]

    def _hot_rows(self, layer: str, parameters: dict[str, Any], column: str = "") -> list[TracedRow]:
        """`column`: that of the market's names; "" to find the rows of one raw message."""
        if layer == "raw_trades":
            sql = render("trace_raw.sql", place=not column)
        else:
            sql = _rows_of(*_HOT_ROWS[layer], column=column)
        rows = [readable(row) for row in self._hot.rows(sql, parameters)]
        if layer == "raw_trades":
            rows = [row | {"raw_json": text_of(bytes.fromhex(row["raw_json"]))} for row in rows]
        return [TracedRow(layer=layer, tier="hot", row=row) for row in rows]

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


def _rows_of(table: str, kafka_times: Sequence[str] = ("published_at",), column: str = "symbol") -> str:
    return render("trace_rows.sql", table=table, column=column, kafka_times=kafka_times, place=not column)


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
    if silver:
        changes = [*_lost(silver, raw), *changes]
    return changes + _copy("silver_trades", rows)


def _lost(silver: dict[str, Any], raw: dict[str, Any] | None) -> list[ValueChange]:
    """A row of Silver of which no tier has the raw message."""
    if raw is not None:
        return []
    place = "{}[{}]@{}".format(*coordinates_of(silver)[:3])
    return [ValueChange(layer="raw_trades", field="message", before=place, after="in neither tier")]


def _doubled(sightings: Sequence[TracedRow]) -> list[ValueChange]:
    """Silver has a trade once in each tier."""
    tiers = Counter(row.tier for row in sightings if row.layer == "silver_trades")
    layers = {"hot": "silver_trades", "cold": "cold.silver_trades"}
    return [
        ValueChange(layer=layers[tier], field="rows", before="1", after=str(rows))
        for tier, rows in tiers.items()
        if rows > 1
    ]


def _copy(layer: str, rows: dict[tuple[str, str], dict[str, Any]]) -> list[ValueChange]:
    hot, cold = rows.get((layer, "hot")), rows.get((layer, "cold"))
    return sorted(hot_to_cold(layer, hot, cold), key=lambda change: change.field) if hot and cold else []


def _choose(sightings: Iterable[TracedRow]) -> Coordinates | None:
    """The message that Silver's row comes from, else the first message."""
    ordered = sorted(sightings, key=lambda s: (s.layer != "silver_trades", s.tier != "hot"))
    return coordinates_of(ordered[0].row) if ordered else None
