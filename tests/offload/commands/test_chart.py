"""Invariant: a chart's candles are the trades' candles, wherever their days are."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from cli.chart import command as chart_command
from cli.common.arguments import UnknownNameError
from config.settings import Settings
from ddl.layers import STATE_TABLE
from offload.clickhouse.tiers import Tiers
from offload.retention.gate import close_gate
from offload.run import run
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, read_tape, silver_rows
from tests.offload.retention.test_gate import LATER


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Settings:
    """The first chart is of hot candles alone: there is no cold table yet, and no view of one."""
    return new_settings(http_port, tmp_path)


# Of the fast tier: tests/cli/test_chart.py, and the views of both tiers in tests/offload/retention.
@pytest.mark.nightly
def test_a_chart_has_the_candles_of_both_tiers(
    settings: Settings, hot: HotTables, tape: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trades = read_tape(tape).gather_every(20)
    hot.insert("silver_trades", silver_rows(trades))
    monkeypatch.setattr(chart_command, "load_settings", lambda _: settings)
    price, quantity = pl.col("price").str.to_decimal(scale=18), pl.col("qty").str.to_decimal(scale=18)
    ordered = trades.filter(symbol="BTCUSDT").sort("time", pl.col("trade_id").cast(pl.Int64))
    expected = ordered.group_by(pl.col("time").dt.truncate("1m").alias("start"), maintain_order=True).agg(
        price.first().cast(pl.Float64).alias("open"),
        price.max().cast(pl.Float64).alias("high"),
        price.min().cast(pl.Float64).alias("low"),
        price.last().cast(pl.Float64).alias("close"),
        quantity.sum().cast(pl.Float64).alias("volume"),
        pl.len().alias("trades"),
    )

    def drawn(last: int | None = None) -> list[tuple[object, ...]]:
        chart_command.chart("BTCUSDT", "binance", last=last, as_json=True)
        candles = json.loads(capfd.readouterr().out)["candles"]
        return [(one.pop("start")[:19].replace("T", " "), *one.values()) for one in candles]

    rows = [(f"{row[0]:%Y-%m-%d %H:%M:%S}", *row[1:]) for row in expected.iter_rows()]
    assert drawn() == rows
    assert drawn(last=2) == rows[-2:]
    run(Tiers.open(settings), until_now=True, layers=("gold",))
    close_gate(Tiers.open(settings), drop=True, tables=[STATE_TABLE], now=LATER)
    assert hot.count("gold_ohlcv_1m") == 0
    assert drawn() == rows
    with pytest.raises(chart_command.NoCandlesError, match="latest_prices"):
        chart_command.chart("ETHUSDT", "kraken")
    with pytest.raises(UnknownNameError, match="near it: BTCUSDT"):
        chart_command.chart("BTCUSDD", "binance")
