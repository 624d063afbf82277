"""Invariant: what looks wrong is found once, with how far it is off, and is closed when it is wrong no longer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from config.registry import SymbolRegistry
from config.settings import Settings
from series.answer import Answer
from series.declaration import series_named
from series.quality.anomalies import Anomaly, AnomalyCheck, Kind, by_kind
from series.store import SeriesStore
from tests.clickhouse import PASSWORD
from tests.offload.hot_tables import HotTables

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def check(settings: Settings, store: SeriesStore) -> AnomalyCheck:
    return AnomalyCheck(store, SymbolRegistry.load(settings.symbols_file), settings)


def store_hours(
    store: SeriesStore,
    starts: Sequence[datetime],
    symbol: str = "BTCUSDT",
    exchange: str = "binance",
    frame: str = "1h",
) -> None:
    """Bars of an hour or another frame, as the venue sends them."""
    market = {"exchange": exchange, "symbol": symbol, "frame": frame}
    amounts = dict.fromkeys(("open", "high", "low", "close", "volume"), "1")
    rows = [market | amounts | {"window_start": str(int(start.timestamp() * 1_000))} for start in starts]
    received = int((starts[-1] + DAY).timestamp() * 1_000_000)
    store.insert(series_named("bars"), [Answer("test", f"{symbol} {frame} {starts[0]}", received, b"", rows)])


def store_closes(hot: HotTables, closes: Mapping[str, Mapping[int, float]], symbol: str = "BTCUSDT") -> None:
    """A trade at each price, by exchange and minute after START."""
    trades = [
        {"exchange": exchange, "minute": minute, "price": price}
        for exchange, prices in closes.items()
        for minute, price in prices.items()
    ]
    rows = pl.DataFrame(trades, schema={"exchange": pl.String, "minute": pl.Int64, "price": pl.Float64}).select(
        "exchange",
        symbol=pl.lit(symbol),
        trade_id=pl.col("minute").cast(pl.String),
        price=pl.col("price").cast(pl.Decimal(38, 18)),
        quantity=pl.lit(1).cast(pl.Decimal(38, 18)),
        quote_volume=pl.col("price").cast(pl.Decimal(38, 18)),
        timestamp=pl.lit(START).dt.cast_time_unit("us") + pl.duration(minutes="minute"),
        side=pl.lit("BUY"),
        sequence=pl.col("minute").cast(pl.UInt64),
        trade_kind=pl.lit("market"),
        match_count=pl.lit(1, pl.UInt32),
    )
    hot.client.insert_arrow("silver_trades", rows.to_arrow())


def kept(hot: HotTables) -> dict[tuple[Any, ...], bool]:
    """Kind, market and time → whether it is open."""
    rows = hot.client.query(
        "SELECT kind, exchange, symbol, frame, at, is_open FROM quality_anomalies", tz_mode="aware"
    ).result_rows
    return {tuple(row[:5]): bool(row[5]) for row in rows}


def of(found: Sequence[Anomaly], kind: Kind) -> dict[tuple[str, datetime], float]:
    return {(one.exchange, one.at): one.value for one in found if one.kind == kind}


def test_a_series_is_stale_until_a_row_comes(check: AnomalyCheck, store: SeriesStore, hot: HotTables) -> None:
    store_hours(store, [START + number * HOUR for number in range(24)])
    newest = START + 23 * HOUR
    assert not of(check.run(START, newest + 48 * HOUR), Kind.STALE_SERIES)
    found = of(check.run(START, newest + 50 * HOUR), Kind.STALE_SERIES)
    assert found == {("binance", newest): 50}
    assert kept(hot)["stale_series", "binance", "BTCUSDT", "1h", newest]
    # Found again, it is one; another market's check does not touch it.
    check.run(START + 9 * DAY, newest + 10 * DAY)
    check.run(START, newest + 51 * HOUR, symbol="ETHUSDT")
    assert kept(hot) == {("stale_series", "binance", "BTCUSDT", "1h", newest): True}
    store_hours(store, [newest + 49 * HOUR])
    check.run(newest + 50 * HOUR, newest + 51 * HOUR)
    assert not kept(hot)["stale_series", "binance", "BTCUSDT", "1h", newest]


def test_a_halted_market_is_not_stale(settings: Settings, store: SeriesStore, hot: HotTables) -> None:
    registry = SymbolRegistry.load(settings.symbols_file)
    entries = registry.content.exchanges["binance"]
    halted = {
        name: entry.model_copy(update={"halted_on": START.date()}) if entry.canonical == "BTCUSDT" else entry
        for name, entry in entries.items()
    }
    content = registry.content.model_copy(update={"exchanges": {**registry.content.exchanges, "binance": halted}})
    store_hours(store, [START], "BTCUSDT")
    store_hours(store, [START], "ETHUSDT")
    found = AnomalyCheck(store, SymbolRegistry(content), settings).run(START, START + 9 * DAY)
    assert [one.symbol for one in found if one.kind == Kind.STALE_SERIES] == ["ETHUSDT"]


def test_days_that_lack_rows_are_counted_out(check: AnomalyCheck, store: SeriesStore, hot: HotTables) -> None:
    stored = {0: 20, 1: 24, 2: 23, 4: 24, 5: 3}  # hours by day; the first and the last may be half there
    store_hours(store, [START + day * DAY + hour * HOUR for day, hours in stored.items() for hour in range(hours)])
    found = of(check.run(START, START + 6 * DAY), Kind.MISSING_ROWS)
    assert found == {("binance", START + 2 * DAY): 1, ("binance", START + 3 * DAY): 24}
    assert of(check.run(START, START + 3 * DAY), Kind.MISSING_ROWS) == {("binance", START + 2 * DAY): 1}
    # Shares are not traded on every day, nor all day; of moments a day has one at least.
    shares = [START + day * DAY + 15 * HOUR for day in (0, 1, 4)]
    store_hours(store, shares, "AAPL", exchange="alpaca")
    store_hours(store, [START + day * DAY for day in (0, 1, 4)], "AAPL", exchange="alpaca", frame="1d")
    rows = [
        {"day": str(int((START + day * DAY).timestamp())), "value": "50", "classification": "Neutral"}
        for day in (0, 1, 3)
    ]
    store.insert(
        series_named("fear_greed"), [Answer("test", "index", int((START + 9 * DAY).timestamp()) * 10**6, b"", rows)]
    )
    found = of(check.run(START, START + 6 * DAY), Kind.MISSING_ROWS)
    assert found == {("binance", START + 2 * DAY): 1, ("binance", START + 3 * DAY): 24, ("", START + 2 * DAY): 1}
    store_hours(store, [START + 3 * DAY + hour * HOUR for hour in range(24)])
    assert of(check.run(START, START + 6 * DAY), Kind.MISSING_ROWS) == {
        ("binance", START + 2 * DAY): 1,
        ("", START + 2 * DAY): 1,
    }
    assert not kept(hot)["missing_rows", "binance", "BTCUSDT", "1h", START + 3 * DAY]


def test_a_price_off_the_other_venues_is_found_at_the_venue(check: AnomalyCheck, hot: HotTables) -> None:
    closes = {
        "binance": {0: 100.0, 1: 100.0, 2: 100.0, 3: 100.0},
        "kraken": {0: 100.5, 1: 101.0, 2: 103.5, 3: 104.0},
        "okx": {0: 99.5, 1: 100.5, 2: 100.5},
        "bybit": {0: 100.0, 1: 97.5, 2: 100.0},
    }
    store_closes(hot, closes)
    wanted = {}
    for minute in range(4):
        prices = {exchange: by_minute[minute] for exchange, by_minute in closes.items() if minute in by_minute}
        for exchange, price in prices.items():
            others = [other for name, other in prices.items() if name != exchange]
            off = abs(price / median(others) - 1) * 100
            if len(others) > 1 and off > 2:
                wanted[exchange, START + minute * MINUTE] = pytest.approx(off, rel=1e-12)
    found = of(check.run(START, START + DAY), Kind.PRICE_OFF)
    assert found == wanted
    assert set(found) == {("bybit", START + MINUTE), ("kraken", START + 2 * MINUTE)}, "two venues alone prove nothing"


def test_a_jump_is_one_from_the_candle_before(check: AnomalyCheck, hot: HotTables) -> None:
    store_closes(hot, {"binance": {0: 100.0, 1: 109.0, 5: 125.0, 6: 110.0, 90: 150.0}})
    found = of(check.run(START, START + DAY), Kind.JUMP)
    assert found == {
        ("binance", START + 5 * MINUTE): pytest.approx((125 / 109 - 1) * 100, rel=1e-12),
        ("binance", START + 6 * MINUTE): pytest.approx((1 - 110 / 125) * 100, rel=1e-12),
    }, "9 per cent are within the bound, and more than an hour is no jump"
    # The candle before the span counts, and is not itself looked at.
    assert list(of(check.run(START + 6 * MINUTE, START + DAY), Kind.JUMP)) == [("binance", START + 6 * MINUTE)]


def test_the_command_prints_them_and_fails(
    hot: HotTables, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("clickhouse_host", "clickhouse_http_port", "clickhouse_database"):
        monkeypatch.setenv(f"MEDALLION_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_PASSWORD", PASSWORD)
    store_closes(hot, {"binance": {0: 100.0, 1: 125.0}})
    page = tmp_path / "page.html"
    span = ("quality", "check", "--from", "2026-03-02", "--to", "2026-03-03")
    done = CliRunner().invoke(app, [*span, "--json", "--html", str(page)])
    assert done.exit_code != 0
    assert json.loads(done.stdout)["anomalies"] == [
        {
            "kind": "jump", "series": "candles", "exchange": "binance", "symbol": "BTCUSDT", "frame": "1m",
            "at": "2026-03-02T00:01:00+00:00", "value": 25.0, "bound": 10.0, "detail": "125 after 100",
        }
    ]  # fmt: skip
    assert "125 after 100" in page.read_text()
    # Of another market there is nothing to compare, and nothing else.
    done = CliRunner().invoke(app, [*span, "--symbol", "ETHUSDT"])
    assert "NothingToCompareError" in repr(done.exception)


def test_duplicates_that_differ_are_counted_by_market_and_day(check: AnomalyCheck, hot: HotTables) -> None:
    dead_letter = {"reason": "trade_contradicts", "exchange": "kraken", "symbol": "BTC/USD", "raw_topic": "raw"}
    rows = [
        dead_letter | {"trade_id": str(number), "timestamp": START + number * HOUR, "raw_offset": number}
        for number in range(26)
    ]
    rows.append(dead_letter | {"reason": "price_too_high", "trade_id": "99", "timestamp": START, "raw_offset": 99})
    hot.insert("dlq_trades_log", pl.DataFrame(rows))
    found = [one for one in check.run(START, START + 2 * DAY) if one.kind == Kind.CONTRADICTING_DUPLICATES]
    assert [(one.symbol, one.at, one.value) for one in found] == [("BTCUSD", START, 24), ("BTCUSD", START + DAY, 2)]
    assert by_kind(found) == dict.fromkeys(Kind, 0) | {"contradicting_duplicates": 2}
    assert dataclasses.replace(found[0], value=0).key == found[0].key
