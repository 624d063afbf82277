"""Invariant: what the check says of Silver, Gold and the stored bars is what was done to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, app
from config.settings import Settings
from series.answer import Answer
from series.declaration import series_named
from series.store import SeriesStore
from tests.clickhouse import PASSWORD
from tests.offload.hot_tables import HotTables
from tests.series.klines import DAY_MS, csv, minutes
from tests.series.quality.tape import added, changed, missing, published, tape, window

NEW_ID = "9999999999"


def store_trades(hot: HotTables, trades: pl.DataFrame, symbol: str) -> None:
    """Silver's rows; Gold follows from them."""
    rows = trades.select(
        "trade_id", "timestamp", "price", "quantity", "match_count", "trade_kind",
        exchange=pl.lit("binance"), symbol=pl.lit(symbol), quote_volume="quote",
        side=pl.when("is_buy").then(pl.lit("BUY")).otherwise(pl.lit("SELL")),
        sequence=pl.col("trade_id").cast(pl.UInt64),
    )  # fmt: skip
    hot.client.insert_arrow("silver_trades", rows.to_arrow())


def store_bars(store: SeriesStore, symbol: str, bars: pl.DataFrame | None = None) -> None:
    """The venue's bars, all of the recording by default, as texts; trailing zeros as Binance writes them."""
    bars = published(symbol) if bars is None else bars
    amounts = ("open", "high", "low", "close", "volume", "quote_volume", "buy_volume")
    rows: list[dict[str, str]] = []
    for bar in bars.to_dicts():
        start_ms = int(bar["window_start"].timestamp() * 1_000)
        texts = {name: f"{bar[name]:f}" for name in amounts}
        market = {"exchange": "binance", "symbol": symbol, "frame": "1m", "window_start": str(start_ms)}
        rows.append(market | texts | {"trade_count": str(bar["trade_count"])})
    # Products have up to 16 decimals here, a text of more than 18 would not be taken.
    for row in rows:
        row["quote_volume"] = row["quote_volume"].rstrip("0").rstrip(".")
    request = f"klines of {symbol} from {rows[0]['window_start']}"
    store.insert(series_named("bars"), [Answer("test", request, 1_764_000_000_000_000, b"", rows)])


def faulty() -> tuple[pl.DataFrame, dict[Any, tuple[str, str]]]:
    """BTCUSDT with a fault of each kind in a minute of its own; by window: the cause and a trade that is named."""
    trades, whole = tape(), tape()
    minutes = [start for (start,) in published().filter(pl.col("trade_count") > 20).select("window_start").iter_rows()]
    rows = [int((whole["timestamp"] < start).sum()) + 5 for start in minutes[1:5]]
    first, second, third, fourth = (window(whole["timestamp"][row]) for row in rows)
    ids = [whole["trade_id"][row] for row in rows]

    def at(trade_id: str) -> int:
        return int(trades.with_row_index().filter(pl.col("trade_id") == trade_id)["index"][0])

    trades = missing(trades, at(ids[0]))
    trades = added(trades, at(ids[1]), NEW_ID)
    trades = changed(trades, at(ids[2]), is_buy=~pl.col("is_buy"))
    trades = added(trades, at(ids[3]), "9999999998", price=pl.col("price") * 2)
    # The recording's ids have holes of their own: the lost trade is located by its quantity and price.
    lost = f"{whole['quantity'][rows[0]].normalize():f} at {whole['price'][rows[0]].normalize():f}"
    expected = {first: ("missing_trade", lost), second: ("doubled_trade", NEW_ID)}
    return trades, expected | {third: ("wrong_side", ids[2]), fourth: ("off_book_trade", "9999999998")}


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clickhouse_host", "clickhouse_http_port", "clickhouse_database"):
        monkeypatch.setenv(f"MEDALLION_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_PASSWORD", PASSWORD)


def medallion(*arguments: str, code: int = 0) -> str:
    """What `medallion …` writes to standard output."""
    done = CliRunner().invoke(app, list(arguments))
    assert (done.exit_code != 0) == (code != 0), done.output
    return done.stdout


def test_every_injected_fault_is_named_where_it_is(
    store: SeriesStore, hot: HotTables, environment: None, tmp_path: Path
) -> None:
    trades, expected = faulty()
    store_trades(hot, trades, "BTCUSDT")
    store_trades(hot, tape("ETHUSDT"), "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        store_bars(store, symbol)
    span = ("--from", f"{published()['window_start'].min():%Y-%m-%d}", "--to", "2024-08-11")
    report = tmp_path / "report.html"
    said = json.loads(medallion("quality", "check", *span, "--json", "--html", str(report), code=1))
    btc, eth = sorted(said["markets"], key=lambda one: one["symbol"])
    assert (eth["windows"], eth["equal"]) == (published("ETHUSDT").height,) * 2
    assert btc["windows"] - btc["equal"] == len(expected)
    rows = hot.client.query(
        "SELECT window_start, cause, detail || ' ' || arrayStringConcat(trade_ids, ' ') FROM quality_checks"
        " WHERE result != 'equal'",
        tz_mode="aware",
    )
    found = {start: (cause, ids) for start, cause, ids in rows.result_rows}
    assert {start: cause for start, (cause, _) in found.items()} == {
        start: cause for start, (cause, _) in expected.items()
    }
    for start, (_, named) in expected.items():
        assert named in found[start][1]
        assert named in report.read_text()
    # A second check of a mended tape replaces what the first one said.
    hot.client.command("TRUNCATE TABLE silver_trades")
    hot.client.command("TRUNCATE TABLE gold_ohlcv_state")
    store_trades(hot, tape(), "BTCUSDT")
    assert "100" not in medallion("quality", "check", *span, "--symbol", "BTCUSDT", "--exchange", "binance").split()
    assert hot.client.command("SELECT countIf(result != 'equal') FROM quality_checks WHERE symbol = 'BTCUSDT'") == 0


def test_nothing_to_compare_is_said(hot: HotTables, environment: None) -> None:
    medallion("quality", "check", "--from", "2024-08-09", "--to", "2024-08-10", code=1)


def test_what_is_declared_and_stored_is_listed(store: SeriesStore, environment: None) -> None:
    store_bars(store, "BTCUSDT")
    said = json.loads(medallion("series", "list", "--json"))
    assert [one["series"] for one in said["declared"]] == ["bars", "fear_greed", "funding_rates"]
    assert [(one["series"], one["symbol"], one["row_count"]) for one in said["stored"]] == [
        ("bars", "BTCUSDT", published().height)
    ]
    assert {"series", "quality"} <= set(COMMANDS)


def test_the_command_stores_a_days_file_and_says_what_is_missing(
    hot: HotTables, environment: None, tmp_path: Path
) -> None:
    (tmp_path / "BTCUSDT-1m-2024-08-09.csv").write_bytes(csv(minutes(DAY_MS, 1_440)))
    asked = ("series", "run", "bars", "--source", str(tmp_path), "--from", "2024-08-09", "--to", "2024-08-10", "--json")
    first = json.loads(medallion(*asked, "--symbol", "BTCUSDT"))
    assert [(one["rows"], one["rejected"], one["failure"]) for one in first["questions"]] == [(1_440, 0, "")]
    again = json.loads(medallion(*asked, "--symbol", "BTCUSDT,ETHUSDT", code=1))
    assert [one["answers"] for one in again["questions"]] == [0, 0]
    assert ["ETHUSDT-1m-2024-08-09" in one for one in again["failures"]] == [True]
    assert hot.client.command("SELECT count() FROM bars") == 1_440
    medallion("series", "run", "bars", "--symbol", "SOLUSDT", "--source", str(tmp_path), code=1)
    medallion("series", "run", "no_such", code=2)
