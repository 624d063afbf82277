"""TradingView's UDF on recorded trades: polars' candles, in the form that its documentation gives."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests
import yaml

from config.settings import Settings
from serving.udf.names import RESOLUTIONS
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, read_tape, silver_rows
from tests.serving.running import running

# By UDF's name, in polars' words.
WINDOWS = {
    **{f"{n}": f"{n}m" for n in (1, 3, 5, 15, 30, 60, 120, 240, 360, 480, 720)},
    "1D": "1d",
    "3D": "3d",
    "1W": "1w",
    "1M": "1mo",
}
# Arrivals, and so validation, of the tape are older than a minute: every candle is closed.
MARKET = "BINANCE:BTCUSDT"


@pytest.fixture(scope="module")
def trades(tape: Path) -> pl.DataFrame:
    """Two hours at a midnight, and the same trades 40 days before with an hour of silence in between."""
    recent = read_tape(tape).tail(3_000)
    older = recent.with_columns(
        pl.col("time") - timedelta(days=40, hours=1),
        pl.col("trade_id") + "9",
        pl.col("offset") + 100_000,
    )
    return pl.concat([older, recent])


@pytest.fixture(scope="module")
def url(http_port: int, trades: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = HotTables(new_settings(http_port, tmp_path_factory.mktemp("udf")))
    tables.insert("silver_trades", silver_rows(trades))
    with running(tables.settings) as address:
        yield f"{address}/udf"
    tables.give_back()


def get(url: str, path: str, status: int = 200, **parameters: Any) -> Any:
    answer = requests.get(f"{url}/{path}", params=parameters, timeout=30)
    assert answer.status_code == status, answer.text
    return answer.json()


def bars(trades: pl.DataFrame, resolution: str) -> list[tuple[int, float, float, float, float, float]]:
    """Time, open, high, low, close, volume; each the double nearest to polars' decimal."""
    rows = silver_rows(trades.filter(pl.col("symbol") == "BTCUSDT")).sort("timestamp", "sequence", "trade_id")
    grouped = rows.group_by(pl.col("timestamp").dt.truncate(WINDOWS[resolution]), maintain_order=True)
    made = grouped.agg(
        pl.col("price").first().alias("o"),
        pl.col("price").max().alias("h"),
        pl.col("price").min().alias("l"),
        pl.col("price").last().alias("c"),
        pl.col("quantity").sum().alias("v"),
    )
    return [(int(row[0].timestamp()), *(float(str(value)) for value in row[1:])) for row in made.iter_rows()]


def shown(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    assert answer["s"] == "ok"
    return list(zip(*(answer[name] for name in "tohlcv"), strict=True))


def test_every_interval_has_a_resolution() -> None:
    assert set(RESOLUTIONS) == set(WINDOWS)


# Each way to compute an interval, as in test_service.py.
TELLING = {"1", "1D", "3", "720", "3D", "1W", "1M"}


@pytest.mark.parametrize(
    "resolution", [pytest.param(one, marks=[] if one in TELLING else pytest.mark.nightly) for one in WINDOWS]
)
def test_bars_of_every_resolution_are_polars(url: str, trades: pl.DataFrame, resolution: str) -> None:
    expected = bars(trades, resolution)
    end = expected[-1][0] + 1
    month = {"from": end - 13 * 86_400, "to": end}
    got = get(url, "history", symbol=MARKET, resolution=resolution, **month)
    assert shown(got) == [one for one in expected if one[0] >= month["from"]]
    for count in (1, len(expected) - 1, 1_000):
        back = get(url, "history", symbol=MARKET, resolution=resolution, countback=count, **month)
        assert shown(back) == expected[-count:]


def test_the_end_is_not_included_and_the_beginning_is(url: str, trades: pl.DataFrame) -> None:
    times = [one[0] for one in bars(trades, "1")]
    first, second, third = times[-3:]
    got = get(url, "history", symbol="btcusdt", resolution="1", **{"from": first, "to": third})
    assert got["t"] == [first, second]


def test_silence_says_where_the_next_bar_is(url: str, trades: pl.DataFrame) -> None:
    times = [one[0] for one in bars(trades, "1")]
    before = next(one for one, following in itertools.pairwise(times) if following - one > 86_400)
    quiet = {"from": before + 3_600, "to": before + 7_200}
    asked = {"symbol": MARKET, "resolution": "1"}
    assert get(url, "history", **asked, **quiet) == {"s": "no_data", "nextTime": before}
    assert get(url, "history", **asked, **{"from": times[0] - 99, "to": times[0]}) == {"s": "no_data"}
    assert get(url, "history", **asked, countback=5, **{"from": -9, "to": times[0]}) == {"s": "no_data"}
    assert get(url, "history", **asked, **{"from": times[-1] + 60, "to": times[-1] + 99}) == {
        "s": "no_data",
        "nextTime": times[-1],
    }


def test_the_configuration_names_what_there_is(url: str) -> None:
    config = get(url, "config")
    assert config["supports_search"] is not config["supports_group_request"]
    assert set(config["supported_resolutions"]) == set(WINDOWS)
    assert {"value": "KRAKEN", "name": "kraken", "desc": "kraken"} in config["exchanges"]
    before = int(time.time())
    assert before <= int(requests.get(f"{url}/time", timeout=10).text) <= time.time()


def test_a_market_is_described_as_the_library_needs_it(url: str) -> None:
    market = get(url, "symbols", symbol="KRAKEN:BTCUSD")
    assert (market["name"], market["ticker"], market["exchange"]) == ("BTCUSD", "KRAKEN:BTCUSD", "KRAKEN")
    assert (market["session"], market["timezone"], market["format"]) == ("24x7", "Etc/UTC", "price")
    registry = yaml.safe_load(Settings().symbols_file.read_text(encoding="utf-8"))
    tick = registry["exchanges"]["kraken"]["BTC/USD"].get("tick", "1e-8")
    assert Decimal(market["minmov"]) / market["pricescale"] == Decimal(str(tick))
    table = get(url, "symbol_info", group="KRAKEN")
    columns = [value for value in table.values() if isinstance(value, list) and len(value) == len(table["symbol"])]
    row = table["ticker"].index("KRAKEN:BTCUSD")
    assert len(columns) > 6
    assert (table["pricescale"][row], table["minmovement"][row]) == (market["pricescale"], market["minmov"])


def test_search_finds_by_words(url: str) -> None:
    found = get(url, "search", query="btcusdt", type="", exchange="", limit=5)
    assert 0 < len(found) <= 5
    assert all("BTCUSDT" in one["symbol"] for one in found)
    assert get(url, "search", query="KRAKEN:BTCUSD", exchange="KRAKEN")[0]["ticker"] == "KRAKEN:BTCUSD"
    assert get(url, "search", query="nosuchthing") == []
    assert get(url, "search", query="btc", type="stock") == []


def test_quotes_are_given_for_what_trades_and_refused_for_the_rest(url: str, trades: pl.DataFrame) -> None:
    got = get(url, "quotes", symbols=f"{MARKET},NOSUCH:BTCUSDT")
    assert [(one["s"], one["n"]) for one in got["d"]] == [("ok", MARKET), ("error", "NOSUCH:BTCUSDT")]
    assert got["d"][0]["v"]["lp"] == bars(trades, "1")[-1][4]


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("symbols", {"symbol": "KRAKEN:NOSUCH"}, 404),
        ("symbols", {}, 400),
        ("symbol_info", {"group": "nosuch"}, 400),
        ("history", {"symbol": MARKET, "resolution": "7", "from": 1, "to": 2}, 400),
        ("history", {"symbol": MARKET, "resolution": "1", "from": 2, "to": 1}, 400),
        ("history", {"symbol": MARKET, "resolution": "1", "from": "x", "to": 1}, 400),
        ("history", {"symbol": MARKET, "resolution": "1", "from": 0, "to": 10**12}, 400),
        ("search", {"query": "btc", "limit": 0}, 400),
        ("time", {"x": 1}, 400),
    ],
)
def test_what_is_wrong_is_said_in_udfs_form(url: str, path: str, parameters: dict[str, Any], status: int) -> None:
    answer = get(url, path, status, **parameters)
    assert answer["s"] == "error"
    assert answer["errmsg"]
