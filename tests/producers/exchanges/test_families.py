"""What a ccxt class says of a trade beside ccxt's own fields is what our parsers read in the same element."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producers.ccxt.unified_trades import family_of, kind_and_matches, single_match_parameters
from producers.ccxt.venue import class_of
from producers.exchanges import exchange
from producers.exchanges.model import PLACEHOLDER, Control, Trades


def info(code: str, **more: Any) -> tuple[dict[str, Any], bytes]:
    """An element, and a frame that has it."""
    if code == "binance_usdm":
        element = {"e": "trade", "s": "X", "t": 1, "p": "1", "q": "1", "T": 1, "m": True} | more
        return element, json.dumps(element).encode()
    if code == "okx":
        element = {"instId": "X", "tradeId": "9", "px": "1", "sz": "1", "side": "buy", "ts": "1"} | more
        return element, json.dumps({"arg": {"channel": "trades", "instId": "X"}, "data": [element]}).encode()
    element = {"T": 1, "s": "X", "S": "Buy", "v": "1", "p": "1", "i": "1"} | more
    return element, json.dumps({"topic": "publicTrade.X", "data": [element]}).encode()


@pytest.mark.parametrize(
    ("code", "family", "more", "expected"),
    [
        ("binance_usdm", "binance", {}, ("", "")),
        ("binance_usdm", "binance", {"X": "MARKET"}, ("", "")),
        ("binance_usdm", "binance", {"X": "ADL"}, ("adl", "")),
        ("binance_usdm", "binance", {"X": "INSURANCE_FUND"}, ("insurance_fund", "")),
        ("binance_usdm", "binance", {"X": "NEW"}, ("X=NEW", "")),
        ("okx", "okx", {}, ("", "")),
        ("okx", "okx", {"count": "1", "source": "0"}, ("", "")),
        ("okx", "okx", {"count": "7", "source": "1"}, ("rpi", "7")),
        ("okx", "okx", {"source": "2"}, ("source=2", "")),
        ("bybit", "bybit", {"BT": False, "RPI": False}, ("", "")),
        ("bybit", "bybit", {"BT": True, "RPI": True}, ("block", "")),
        ("bybit", "bybit", {"RPI": True}, ("rpi", "")),
    ],
)
def test_ccxt_s_element_is_read_as_our_parser_reads_it(
    code: str, family: str, more: dict[str, Any], expected: tuple[str, str]
) -> None:
    element, frame = info(code, **more)
    parsed = exchange(code).parse(frame)
    assert isinstance(parsed, Trades)
    assert [(trade.kind, trade.matches) for trade in parsed.records] == [expected]
    assert kind_and_matches(family, element, "1", "1") == expected


def test_an_id_without_a_trade_is_one_for_both() -> None:
    element, frame = info("binance_usdm", X="NA", p="0", q="0")
    parsed = exchange("binance_usdm").parse(frame)
    assert isinstance(parsed, Control)
    assert (parsed.kind, [trade.trade_id for trade in parsed.placeholders]) == (PLACEHOLDER, ["1"])
    assert kind_and_matches("binance", element, "0", "0") == (PLACEHOLDER, "")
    assert kind_and_matches("binance", element, "1", "0") == ("X=NA", "")


def test_families_are_those_whose_classes_ours_are_built_on() -> None:
    names = {"binanceus": "binance", "binanceusdm": "binance", "myokx": "okx", "bybit": "bybit", "kraken": ""}
    assert {name: family_of(class_of(name)()) for name in names} == names


def test_single_matches_are_asked_for_where_ccxt_would_list_sums() -> None:
    methods = [
        single_match_parameters(market)["fetchTradesMethod"] for market in ({}, {"linear": True}, {"inverse": True})
    ]
    assert methods == ["publicGetTrades", "fapiPublicGetTrades", "dapiPublicGetTrades"]
    assert all(hasattr(class_of("binance")(), method) for method in methods)
