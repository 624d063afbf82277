"""Small inputs that misbehaved elsewhere: frames through parser, Raw, Bronze, Silver and Gold, on a real engine.

Their origin and what is right stands in each folder of tests/cases.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from config.registry import SymbolRegistry, SymbolsFile
from config.settings import DEFAULT_SYMBOLS_FILE, Settings
from config.symbols.markets import read_markets
from config.symbols.update import update
from producers.exchanges import REGISTRY
from producers.exchanges.model import Control
from producers.kafka.envelope import encode, envelopes
from schemas.records import BRONZE
from silver_processor.core.refine import refine
from silver_processor.core.rules import Rules
from tests.ddl.engine import Engine
from tests.ddl.feed import publish

CASES = Path(__file__).parents[2] / "cases"
SHIPPED = SymbolRegistry.load(DEFAULT_SYMBOLS_FILE)
SILVER = ["exchange", "symbol", "trade_id", "price", "quantity", "quote_volume", "timestamp", "sequence", "side"]


@dataclass
class Outcome:
    """Silver rows (those seen before left out), duplicates, the reasons of rejects, kinds of control messages."""

    silver: pl.DataFrame
    duplicates: int
    rejects: list[dict[str, Any]]
    control: list[str]

    @property
    def reasons(self) -> list[str]:
        return [str(one["reason"]) for one in self.rejects]


def play(engine: Engine, warehouse: Settings, code: str, path: Path, registry: SymbolRegistry = SHIPPED) -> Outcome:
    messages, control = [], []
    for line in path.read_bytes().splitlines():
        parsed = REGISTRY[code].parse(line)
        if isinstance(parsed, Control):
            control.append(parsed.kind)
        messages += [encode(one) for one in envelopes(code, line, parsed, 1_795_845_700_000_000)]
    partition = publish(engine, warehouse, messages)
    columns = ", ".join(BRONZE.names)
    rows = engine.frame(
        f"SELECT {columns} FROM {warehouse.clickhouse_database}.bronze_trades_sink"
        f" WHERE raw_partition = {partition} ORDER BY raw_offset"
    )
    assert rows.height == len(messages)
    bronze = pa.Table.from_arrays([rows[field.name].to_arrow().cast(field.type) for field in BRONZE], schema=BRONZE)
    refined = refine(bronze, Rules.of(registry))
    valid = pl.DataFrame(refined.valid)
    fresh = valid.unique(["exchange", "symbol", "trade_id"], keep="first", maintain_order=True)
    return Outcome(fresh, valid.height - fresh.height, refined.rejects.to_pylist(), control)


def candle(engine: Engine, warehouse: Settings, rows: pl.DataFrame) -> list[str]:
    """What the minute of these trades is once they are in Silver as well."""
    database = warehouse.clickhouse_database
    engine.insert(f"{database}.silver_trades", rows.select(SILVER))
    exchange, symbol = rows["exchange"][0], rows["symbol"][0]
    (row,) = engine.execute(
        "SELECT toString(open), toString(high), toString(low), toString(close), toString(volume)"
        f" FROM {database}.gold_ohlcv_1m WHERE exchange = '{exchange}' AND symbol = '{symbol}'"
    )
    return [*row]


def test_coinbase_snapshots_come_newest_first_and_again(engine: Engine, warehouse: Settings) -> None:
    found = play(engine, warehouse, "coinbase", CASES / "coinbase-snapshot" / "frames.jsonl")
    assert sorted(found.silver["trade_id"]) == [f"50000000{number}" for number in range(1, 6)]
    assert (found.duplicates, found.reasons) == (1, ["side_invalid"])
    # The maker's side is sent: the taker's is the other one.
    sides = dict(found.silver.select("trade_id", pl.col("side").cast(pl.String)).iter_rows())
    assert (sides["500000003"], sides["500000002"]) == ("SELL", "BUY")
    assert dict(found.silver.select("trade_id", "timestamp").iter_rows())["500000001"].microsecond == 123_456


def test_kraken_exponents_are_exact(engine: Engine, warehouse: Settings) -> None:
    found = play(engine, warehouse, "kraken", CASES / "kraken-v2-exponent" / "frames.jsonl")
    rows = {row["trade_id"]: row for row in found.silver.iter_rows(named=True)}
    assert rows["101000002"]["price"] == Decimal("63000.10000000001")
    assert rows["101000001"]["quantity"] == rows["101000002"]["quantity"] == Decimal("1e-8")
    assert (rows["101000003"]["price"], rows["101000003"]["quantity"]) == (Decimal("63000.2"), Decimal("0.00005"))
    assert rows["4001"]["quantity"] == Decimal("12345678.12345678")
    assert rows["4001"]["symbol"] == "DOGEUSD"
    # An array and a status of the first version of the interface.
    assert found.reasons == ["unrecognised_message"] * 2
    assert found.control == ["status", "ack", "error"]


def test_a_symbol_is_what_the_registry_has_to_the_letter(engine: Engine, warehouse: Settings) -> None:
    found = play(engine, warehouse, "binance_usdm", CASES / "odd-symbols" / "frames.jsonl")
    assert found.silver["trade_id"].to_list() == ["1"]
    assert found.silver["symbol"][0].startswith("1000SHIBUSDT")
    assert found.reasons == ["symbol_unmapped"] * 8
    assert [one["symbol"] for one in found.rejects][-2:] == ["BTCUSDT ", "btcusdt"]


def test_assets_that_yaml_and_numbers_could_eat(engine: Engine, warehouse: Settings, tmp_path: Path) -> None:
    folder = CASES / "symbols-yaml-traps"
    listed = read_markets(folder / "binance.json")
    built, changes = update(SymbolsFile(version=1, exchanges={}), {"binance": listed}, date(2026, 11, 28))
    assert {change.what for change in changes} == {"new"}
    from config.symbols.build import render

    file = tmp_path / "symbols.yaml"
    file.write_text(render(built), encoding="utf-8")
    registry = SymbolRegistry.load(file)
    assert {row["exchange_symbol"] for row in registry.lookup} >= {"ONUSDT", "NOUSDT", "NULLUSDT", "1E5USDT", "4USDT"}
    found = play(engine, warehouse, "binance", folder / "frames.jsonl", registry)
    frames = [json.loads(line) for line in (folder / "frames.jsonl").read_text(encoding="utf-8").splitlines()]
    events = [frame.get("data", frame) for frame in frames]
    known = {row["exchange_symbol"]: row["canonical"] for row in registry.lookup}
    expected = [(known[event["s"]], str(event["t"])) for event in events if event["s"] in known]
    assert len(expected) == 8
    assert found.silver.select("symbol", "trade_id").rows() == expected
    assert found.reasons == ["symbol_unmapped"] * (len(events) - 8)


def test_ties_are_ordered_by_id_a_price_of_zero_is_no_trade_and_a_late_one_counts(
    engine: Engine, warehouse: Settings
) -> None:
    folder = CASES / "ties-zero-price-late"
    found = play(engine, warehouse, "binance", folder / "frames.jsonl")
    assert found.reasons == ["price_not_positive"]
    assert candle(engine, warehouse, found.silver) == ["99", "102", "98", "101", "6"]
    late = play(engine, warehouse, "binance", folder / "late.jsonl")
    assert candle(engine, warehouse, late.silver) == ["97", "102", "97", "101", "7"]


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_every_case_names_the_tests_that_read_it(case: str) -> None:
    said = (CASES / case / "README.md").read_text(encoding="utf-8")
    assert said.startswith(f"# {case}\n")
    held = re.findall(r"`tests/(\S+\.py)`", said)
    assert held
    for test in held:
        assert f'"{case}"' in (CASES.parent / test).read_text(encoding="utf-8"), test
