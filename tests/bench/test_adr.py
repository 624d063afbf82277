"""The pipeline of ADR-009 (docs/invariants.md) does what the ADR says, and loses nothing on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from bench.adr.place import adr_target
from bench.adr.processor import RejectedError, SymbolNames, process_record
from bench.pipeline import latency, sustained
from bench.pipeline.runs import select
from bench.plan import QUICK
from bench.stack import Target
from config.registry import SymbolRegistry
from config.settings import DEFAULT_SYMBOLS_FILE

TINY = replace(QUICK, seconds=2.0, lead_s=0.5, warm_up_s=1.0, warm_ups=1, markets=4)
RECORD: dict[str, Any] = {
    "exchange": "binance",
    "symbol": "BTCUSDT",
    "trade_id": "7",
    "price": 42000.1,
    "quantity": 0.3,
    "timestamp": datetime(2026, 11, 28, 12, tzinfo=UTC),
    "side": "buy",
}


@pytest.fixture(scope="module")
def symbols() -> SymbolNames:
    return SymbolNames(SymbolRegistry.load(DEFAULT_SYMBOLS_FILE))


def test_a_good_record_is_a_trade_with_decimals_of_its_doubles(symbols: SymbolNames) -> None:
    trade = process_record(RECORD, symbols)
    assert (trade.symbol, trade.side, trade.price) == ("BTCUSDT", "BUY", Decimal("42000.1"))
    # The double's own product, as the ADR has it, not the exact one.
    assert trade.quote_volume == Decimal(repr(42000.1 * 0.3))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exchange": None}, "missing exchange"),
        ({"symbol": None}, "missing symbol"),
        ({"price": None}, "missing price"),
        ({"quantity": None}, "missing quantity"),
        ({"price": 0.0}, "price out of range"),
        ({"price": 1_000_000.5}, "price out of range"),
        ({"quantity": 0.0}, "quantity out of range"),
        ({"quantity": 100_000.5}, "quantity out of range"),
        ({"exchange": "nowhere"}, "unknown exchange"),
        ({"symbol": "NOSUCH"}, "unmapped symbol"),
    ],
)
def test_a_record_that_breaks_a_rule_is_rejected(symbols: SymbolNames, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        process_record(RECORD | change, symbols)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with adr_target() as running:
        yield running


@pytest.mark.nightly
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_it_runs_and_its_candles_are_those_of_the_raw_messages(target: Target) -> None:
    found = latency.measure(target, 200.0, TINY).to_dict()
    assert found["runs"][0]["trades"] > 0
    assert found["p50_ms"] > 0
    assert {"broker", "clickhouse", "processor"} <= set(found["runs"][0]["processes"])
    most = sustained.measure(target, TINY).to_dict()
    assert most["trades_per_s"] > 0
    assert most["stack_cpu_us_per_trade"] > 0

    raw = select(target, "SELECT raw_json FROM trades_raw")["raw_json"]
    message = {"exchange": pl.String, "price": pl.String, "timestamp": pl.String}
    trades = raw.cast(pl.String).str.json_decode(pl.Struct(message)).struct.unnest()
    by_exchange = (
        trades.with_columns(pl.col("price").cast(pl.Decimal(38, 8)))
        .group_by("exchange")
        .agg(
            pl.len().cast(pl.Int64).alias("trades"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
        )
        .sort("exchange")
    )
    for frame in ("1m", "5m", "15m", "30m", "1h", "1d"):
        candles = select(
            target,
            "SELECT toString(exchange) AS exchange, toInt64(sum(trade_count)) AS trades, max(high) AS high,"
            f" min(low) AS low FROM gold_ohlcv_{frame} GROUP BY exchange ORDER BY exchange",
        )
        assert candles.rows() == by_exchange.rows(), frame
