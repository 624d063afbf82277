"""Trades that are no market trades reach Silver under their kind, and candles count what the exchange's own count."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from config.registry import SymbolRegistry
from schemas.kinds import COUNTED, KINDS, TradeKind
from silver_processor.core.rules import Rules
from tests.silver.journey import Journey, reasons

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "defaults": {"price_max": 10_000_000, "quantity_max": 1_000_000},
    "exchanges": {
        "binance": {"BTCUSDT": {"canonical": "BTCUSDT", "base": "BTC", "quote": "USDT"}},
        "binance_usdm": {
            "ETHUSDT": {"canonical": "ETHUSDT-PERP", "base": "ETH", "quote": "USDT"},
            "BTCUSDT": {"canonical": "BTCUSDT-PERP", "base": "BTC", "quote": "USDT"},
        },
        "bybit_linear": {"BTCUSDT": {"canonical": "BTCUSDT-PERP", "base": "BTC", "quote": "USDT"}},
        "okx": {"BTC-USDT": {"canonical": "BTCUSDT", "base": "BTC", "quote": "USDT"}},
    },
}
RULES = Rules.of(SymbolRegistry.of(DOCUMENT))
SINGLY, SUMMED = "trades-all.jsonl", "trades.jsonl"
OKX = "okx-trades-then-trades-all"


@pytest.fixture
def journey() -> Journey:
    return Journey(RULES)


def only_candle(journey: Journey) -> tuple[Any, ...]:
    (candle,) = journey.candles.drop("symbol", "window_start", "quote_volume").rows()
    return candle


def decimals(*values: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(value) for value in values)


def test_insurance_fund_and_adl_are_in_silver_and_in_no_candle(journey: Journey) -> None:
    journey.replay("binance_usdm", "binance-usdm-insurance-fund")
    assert journey.silver["trade_kind"].to_list() == ["market", "insurance_fund", "adl", "market"]
    assert only_candle(journey) == (*decimals("2500", "2500.1", "2500", "2500.1", "2"), 2)


def test_a_block_trade_is_in_no_candle_and_an_rpi_trade_is(journey: Journey) -> None:
    journey.replay("bybit_linear", "bybit-current-fields")
    assert journey.silver["trade_kind"].to_list() == ["market", "rpi", "block", "market"]
    assert only_candle(journey) == (*decimals("63000.8", "63001.7", "63000.7", "63001.7", "0.01203"), 3)


def test_events_that_are_no_trades_of_the_book_are_control_messages(journey: Journey) -> None:
    journey.replay("binance", "binance-current-spot-fields")
    assert journey.silver.height == 5
    assert journey.rejects == []
    assert {"blockTrade", "referencePrice"} <= set(journey.controls)


@pytest.mark.parametrize("order", [(SUMMED, SINGLY), (SINGLY, SUMMED), (SUMMED, SINGLY, SUMMED, SINGLY)])
def test_each_match_counts_once_whatever_the_channel_and_the_order(journey: Journey, order: tuple[str, ...]) -> None:
    for name in order:
        journey.replay("okx", OKX, name)
    assert only_candle(journey) == (*decimals("63000.1", "63000.2", "63000.1", "63000.2", "0.7"), 4)
    assert journey.rejects == []


def frame(**members: object) -> bytes:
    event = {"e": "trade", "T": 1795845601000, "s": "BTCUSDT", "t": 1, "p": "1", "q": "1", "m": True} | members
    return str(event).replace("'", '"').replace("True", "true").encode()


@pytest.mark.parametrize(
    ("members", "kinds", "rejected"),
    [
        ({"X": "MARKET"}, ["market"], []),
        ({}, ["market"], []),
        ({"X": "NEW"}, [], ["kind_unknown"]),
        ({"X": "market"}, [], ["kind_unknown"]),
        ({"X": "NA"}, [], ["kind_unknown"]),
        ({"X": "NA", "p": "0", "q": "0.000"}, [], []),
        ({"X": "MARKET", "p": "0", "q": "0"}, [], ["price_not_positive"]),
        ({"X": "MARKET", "p": "0"}, [], ["price_not_positive"]),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_an_unknown_kind_is_a_dead_letter_and_a_placeholder_is_none(
    journey: Journey, members: dict[str, object], kinds: list[str], rejected: list[str], wrapped: bool, tmp_path: Any
) -> None:
    line = frame(**members)
    lines = [b'{"stream":"x","data":' + line + b"}" if wrapped else line, frame(t=2)]
    (tmp_path / "frames.jsonl").write_bytes(b"\n".join(lines))
    journey.replay("binance_usdm", str(tmp_path))
    assert journey.silver["trade_kind"].to_list() == [*kinds, "market"], "the next trade goes through"
    assert reasons(journey.rejects) == rejected
    assert journey.controls == (["placeholder"] if not kinds and not rejected else [])


def test_candles_count_what_was_matched_in_the_book() -> None:
    assert set(COUNTED) == {"market", "rpi", "liquidation", "auction"}
    assert KINDS.keys() == set(TradeKind)
