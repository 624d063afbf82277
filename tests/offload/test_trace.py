"""A trade is found in every layer of both tiers, and a value damaged on its way is traced to the layer (scenario 2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.tiers import Tiers
from offload.proof.trace import Trace, Tracer
from offload.retention.gate import close_gate
from offload.run import run
from tests.offload.hot_tables import HotTables, dead_letter_rows, duplicate_rows, raw_rows, read_tape, silver_rows
from tests.offload.test_gate import LATER


def messages(trades: pl.DataFrame) -> pl.DataFrame:
    """Raw rows whose raw_json is an envelope like the producers'."""

    def envelope(row: dict[str, str]) -> bytes:
        payload = json.dumps({"t": int(row["trade_id"]), "p": row["price"], "q": row["quantity"]})
        names = ("exchange", "symbol", "trade_id", "price", "quantity", "side")
        fields = {name: row[name] for name in names} | {"timestamp": row["timestamp_raw"], "payload": payload}
        return json.dumps(fields).encode()

    rows = raw_rows(trades)
    return rows.with_columns(pl.Series("raw_json", [envelope(row) for row in rows.to_dicts()], pl.Binary))


@pytest.fixture
def loaded(settings: Settings, hot: HotTables, tape: Path) -> HotTables:
    trades = read_tape(tape).head(2000).filter(pl.col("offset") % 3 == 1)
    hot.insert("trades_raw", messages(trades))
    hot.insert("silver_trades", silver_rows(trades))
    run(Tiers.open(settings))
    return hot


@pytest.fixture
def trade(tape: Path) -> dict[str, str]:
    row: dict[str, str] = read_tape(tape).row(1234, named=True)
    return row


def _trace(settings: Settings, trade: dict[str, str]) -> Trace:
    return Tracer(Tiers.open(settings)).trade("binance", trade["symbol"], trade["trade_id"])


def test_a_trade_is_found_everywhere_and_unchanged(
    settings: Settings, loaded: HotTables, trade: dict[str, str]
) -> None:
    trace = _trace(settings, trade)
    assert (trace.fate, trace.changes) == ("silver", ())
    assert trace.coordinates is not None
    assert trace.coordinates[:3] == ("market.crypto.trades.binance.raw", 0, 1234)
    assert json.loads(json.loads(trace.message)["payload"])["p"] == trade["price"]
    assert [(s.layer, s.tier) for s in trace.sightings] == [
        (layer, tier) for tier in ("hot", "cold") for layer in ("raw_trades", "bronze_trades", "silver_trades")
    ]
    for sighting in trace.sightings[3:]:
        assert Path(urlparse(sighting.file).path).is_file()
        assert sighting.snapshot_id is not None
    assert [candle.timeframe for candle in trace.candles] == [frame.code for frame in load_layers().timeframes]
    assert all(candle.hot and candle.from_silver and candle.cold for candle in trace.candles)


def test_what_only_iceberg_holds_is_traced_too(settings: Settings, loaded: HotTables, trade: dict[str, str]) -> None:
    close_gate(Tiers.open(settings), drop=True, now=LATER)
    trace = _trace(settings, trade)
    assert {s.tier for s in trace.sightings} == {"cold"}
    assert (trace.fate, trace.changes) == ("silver", ())


def test_an_unknown_trade_is_missing(settings: Settings, loaded: HotTables) -> None:
    trace = Tracer(Tiers.open(settings)).trade("binance", "BTCUSDT", "no such trade")
    assert (trace.fate, trace.sightings) == ("missing", ())


def test_a_dead_letter_is_known_after_it_left(settings: Settings, hot: HotTables, tape: Path) -> None:
    trades = read_tape(tape).head(20)
    hot.insert("dlq_trades_log", dead_letter_rows(trades.head(10), "price_missing"))
    hot.insert("duplicate_trades", duplicate_rows(trades.tail(10)))
    run(Tiers.open(settings))
    for table in ("dlq_trades_log", "duplicate_trades"):
        hot.client.command(f"TRUNCATE TABLE {table}")
    for row, fate in (
        (trades.row(3, named=True), "rejected: price_missing"),
        (trades.row(13, named=True), "duplicate"),
    ):
        assert Tracer(Tiers.open(settings)).trade("binance", row["symbol"], row["trade_id"]).fate == fate


# Within the envelope's own text the payload's quotes are escaped.
PAYLOAD = r"""raw_json = replaceOne(raw_json, '\\"p\\": \\"', '\\"p\\": \\"9')"""


def _update(table: str, change: str) -> Callable[[HotTables, Trace], None]:
    def damage(hot: HotTables, trace: Trace) -> None:
        hot.client.command(
            f"ALTER TABLE {table} UPDATE {change} WHERE trade_id = '{trace.trade_id}' SETTINGS mutations_sync = 2"
        )

    return damage


def _cold(layer: str, column: str) -> Callable[[HotTables, Trace], None]:
    def damage(hot: HotTables, trace: Trace) -> None:
        (sighting,) = (s for s in trace.sightings if (s.layer, s.tier) == (layer, "cold"))
        path = Path(urlparse(sighting.file).path)
        rows = pq.read_table(path)
        at = rows.column("trade_id").to_pylist().index(trace.trade_id)
        values = rows.column(column).to_pylist()
        values[at] = values[at] + ("0" if isinstance(values[at], str) else 1)
        field = rows.schema.field(column)
        array = pa.array(values, field.type)
        pq.write_table(rows.set_column(rows.schema.get_field_index(column), field, array), path)

    return damage


@pytest.mark.parametrize(
    ("damage", "layer", "field"),
    [
        (_update("trades_raw", PAYLOAD), "producer", "price"),
        (_update("trades_raw", "price = concat(price, '1')"), "raw_trades", "price"),
        (_update("bronze_trades", "received_at = received_at + 1"), "cold.bronze_trades", "received_at"),
        (_update("silver_trades", "price = price + toDecimal128('0.01', 18)"), "silver_trades", "price"),
        (_update("silver_trades", "quote_volume = -quote_volume"), "silver_trades", "quote_volume"),
        (_update("silver_trades", "side = if(side = 'BUY', 'SELL', 'BUY')"), "silver_trades", "side"),
        (_cold("raw_trades", "price"), "cold.raw_trades", "price"),
        (_cold("bronze_trades", "price_text"), "cold.bronze_trades", "price_text"),
        (_cold("silver_trades", "quantity"), "cold.silver_trades", "quantity"),
    ],
)
def test_a_damaged_value_is_traced_to_its_layer(
    settings: Settings,
    loaded: HotTables,
    trade: dict[str, str],
    damage: Callable[[HotTables, Trace], None],
    layer: str | None,
    field: str | None,
) -> None:
    damage(loaded, _trace(settings, trade))
    change = _trace(settings, trade).first_change
    found = (change.layer, change.field) if change else (None, None)
    assert found == (layer, field)


def test_a_damaged_candle_is_named(settings: Settings, loaded: HotTables, trade: dict[str, str]) -> None:
    loaded.client.command(
        "ALTER TABLE gold_ohlcv_state UPDATE volume = volume + 1 WHERE frame = 300 SETTINGS mutations_sync = 2"
    )
    trace = _trace(settings, trade)
    assert trace.first_change is not None
    assert (trace.first_change.layer, trace.first_change.field) == ("gold_ohlcv_5m", "volume")
