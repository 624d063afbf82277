"""Invariant: series are served as they were landed: the venue's own candles, funding rates, the index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from config.settings import Settings
from series.answer import Answer, Row
from series.declaration import series_named
from series.store import SeriesStore
from serving.market_data.markets import Markets
from tests.offload.hot_tables import HotTables
from tests.serving.running import running

RECEIVED_US = 1_764_000_000_000_000
FIRST_MS, HOUR_MS, DAY_MS = 1_723_161_600_000, 3_600_000, 86_400_000
LONG = "0.000012345678901234"


def bar(number: int, **other: str) -> dict[str, str]:
    said = {
        "exchange": "binance", "symbol": "BTCUSDT", "frame": "1h", "window_start": str(FIRST_MS + number * HOUR_MS),
        "open": f"{60_000 + number}.1", "high": "70000.123456789", "low": "0.5", "close": "60000",
        "volume": f"{number}.25", "quote_volume": "90000.15", "trade_count": str(number), "buy_volume": "0.125",
    }  # fmt: skip
    return said | other


def rate(number: int, symbol: str = "BTCUSDT", **other: str) -> dict[str, str]:
    at = str(FIRST_MS + number * 8 * HOUR_MS)
    said = {"exchange": "binance_usdm", "symbol": symbol, "funding_time": at, "rate": f"-0.000{10 + number}"}
    return said | {"mark_price": f"6000{number}.5"} | other


def mood(number: int, value: int) -> dict[str, str]:
    return {"day": str(FIRST_MS + number * DAY_MS), "value": str(value), "classification": f"Mood {value}"}


@pytest.fixture
def url(settings: Settings, hot: HotTables) -> Iterator[str]:
    store = SeriesStore(settings)
    bars, rates = [bar(number) for number in range(5)], [rate(number) for number in range(5)]
    silent = bar(5, quote_volume="", trade_count="", buy_volume="")
    landed: list[tuple[str, list[Row]]] = [
        ("bars", [bar(0, open="1")]),
        ("bars", [*bars, silent, bar(0, frame="1m"), bar(1, exchange="kraken"), bar(1, symbol="ETHUSDT")]),
        ("funding_rates", [rate(0, rate="0.9")]),
        ("funding_rates", [*rates, rate(5, mark_price=""), rate(2, "ETHUSDT"), rate(2, exchange="okx", rate=LONG)]),
        ("fear_greed", [mood(number, 10 * number) for number in range(4)]),
        ("fear_greed", [mood(1, 100)]),
    ]
    for number, (name, rows) in enumerate(landed):
        store.insert(series_named(name), [Answer("test", "GET", RECEIVED_US + number, b"[]", rows)])
    with running(settings) as address:
        yield address


def get(url: str, path: str, status: int = 200, **given: Any) -> Any:
    answer = requests.get(url + path, params=given, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_klines_of_the_venue(url: str) -> None:
    asked = {"symbol": "BTCUSDT", "interval": "1h", "source": "venue"}
    found = get(url, "/api/v3/klines", **asked)
    assert found == [
        [
            FIRST_MS + number * HOUR_MS, f"{60_000 + number}.10000000", "70000.123456789", "0.50000000",
            "60000.00000000", f"{number}.25000000", FIRST_MS + (number + 1) * HOUR_MS - 1,
            *(("90000.15000000", number, "0.12500000") if number < 5 else ("NaN", None, "NaN")), "NaN", "0",
        ]
        for number in range(6)
    ]  # fmt: skip
    assert get(url, "/api/v3/uiKlines", **asked) == found
    assert get(url, "/api/v3/klines", **asked, limit=2) == found[-2:]
    assert get(url, "/api/v3/klines", **asked, limit=2, startTime=FIRST_MS + 1) == found[1:3]
    assert get(url, "/api/v3/klines", **asked, endTime=FIRST_MS + HOUR_MS) == found[:2]
    # Ours are of trades, of which there are none.
    assert get(url, "/api/v3/klines", symbol="BTCUSDT", interval="1h") == []
    assert get(url, "/fapi/v1/klines", **asked) == []
    assert get(url, "/api/v3/klines", 400, **asked | {"interval": "1w"})["code"] == -1120
    assert get(url, "/api/v3/klines", 400, **asked | {"source": "other"})["code"] == -1130


def test_funding_rates(url: str) -> None:
    found = get(url, "/fapi/v1/fundingRate", symbol="BTCUSDT")
    assert found == [
        {
            "symbol": "BTCUSDT",
            "fundingRate": f"-0.000{10 + number}000",
            "fundingTime": FIRST_MS + number * 8 * HOUR_MS,
            "markPrice": f"6000{number}.50000000" if number < 5 else "",
        }
        for number in range(6)
    ]
    assert get(url, "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=2) == found[-2:]
    assert get(url, "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=2, startTime=FIRST_MS + 1) == found[1:3]
    assert get(url, "/fapi/v1/fundingRate", symbol="BTCUSDT", endTime=FIRST_MS + 8 * HOUR_MS) == found[:2]
    both = get(url, "/fapi/v1/fundingRate")
    assert [one["symbol"] for one in both] == [*["BTCUSDT"] * 3, "ETHUSDT", *["BTCUSDT"] * 3]
    assert get(url, "/fapi/v1/fundingRate", 400, symbol="NOSUCH")["code"] == -1121
    assert get(url, "/api/v3/fundingRate", 404)["code"] == -1020


def test_what_the_page_draws_under_the_candles(url: str) -> None:
    asked = {"exchange": "binance_usdm", "symbol": "BTCUSDT", "startTime": FIRST_MS, "endTime": FIRST_MS + 5 * DAY_MS}
    rates = get(url, "/v1/funding", **asked)["rates"]
    assert rates == [
        {"time": FIRST_MS + (number - 10) * 8 * HOUR_MS, "rate": f"-0.000{number}000", "percent": f"-0.0{number}00000"}
        for number in range(10, 16)
    ]
    assert get(url, "/v1/funding", **asked | {"startTime": FIRST_MS + 1}, limit=2)["rates"] == rates[1:3]
    assert get(url, "/v1/funding", **asked | {"endTime": FIRST_MS + 8 * HOUR_MS})["rates"] == rates[:2]
    (precise,) = get(url, "/v1/funding", **asked | {"exchange": "okx"})["rates"]
    assert (precise["rate"], precise["percent"]) == (LONG, "0.0012345678901234")

    span = {name: asked[name] for name in ("startTime", "endTime")}
    days = get(url, "/v1/fear-greed", **span)["days"]
    assert days == [
        {"time": FIRST_MS + number * DAY_MS, "value": value, "classification": f"Mood {value}"}
        for number, value in enumerate((0, 100, 20, 30))  # the second was published again
    ]
    assert get(url, "/v1/fear-greed", **span | {"startTime": FIRST_MS + 1}, limit=2)["days"] == days[1:3]
    assert get(url, "/v1/fear-greed", **span | {"endTime": FIRST_MS + DAY_MS})["days"] == days[:2]

    for wrong, code in {
        ("symbol", "NOSUCH"): -1121, ("symbol", "BTC' OR 1=1 --"): -1100, ("exchange", "nosuch"): -1130,
        ("startTime", "x"): -1100, ("endTime", "1"): -1128, ("limit", "0"): -1130, ("other", "1"): -1104,
        ("startTime", ""): -1105,
    }.items():  # fmt: skip
        assert get(url, "/v1/funding", 400, **asked | dict([wrong]))["code"] == code, wrong
        is_of_market = wrong[0] in {"symbol", "exchange"}
        expected = -1104 if is_of_market else code
        assert get(url, "/v1/fear-greed", 400, **span | dict([wrong]))["code"] == expected, wrong
    for path, given in (("/v1/funding", asked), ("/v1/fear-greed", span)):
        for name in given:
            rest = {one: given[one] for one in given if one != name}
            assert get(url, path, 400, **rest)["code"] == -1102, (path, name)


@pytest.mark.parametrize(
    ("exchange", "symbol", "kind", "is_perpetual"),
    [
        ("binance", "BTCUSDT", None, False),
        ("binance_usdm", "BTCUSDT", None, True),
        ("binance_usdm", "BTCUSDT-260925", None, False),
        ("okx", "BTCUSDT", None, False),
        ("okx", "BTCUSDT-SWAP", None, True),
        ("bitmex", "BTCUSD", "inverse", True),
        ("bitmex", "BTCUSD", "inverse_future", False),
        ("binance_usdm", "BTCUSDT", "linear_future", False),
        ("bitmex", "BTCUSD", "spot", False),
    ],
)
def test_a_market_is_perpetual_by_its_kind_else_by_its_name(
    tmp_path: Path, exchange: str, symbol: str, kind: str | None, is_perpetual: bool
) -> None:
    entry = {"canonical": symbol, "base": "BTC", "quote": "USDT" if "USDT" in symbol else "USD"}
    entry |= {} if kind is None else {"kind": kind}
    path = tmp_path / "symbols.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "exchanges": {exchange: {"OWN_NAME": entry}}}), encoding="utf-8")
    markets = Markets(path)
    assert markets.is_perpetual(exchange, symbol) is is_perpetual
    assert markets.exchange_symbol(exchange, symbol) == "OWN_NAME"
