"""Invariants: a parser never raises, and what it calls a trade has the exchange's text, character for character."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.exchanges import REGISTRY, exchange
from producers.exchanges.model import Control, Trade, Trades, Unrecognised
from tests.producers.exchange import messages

CODES = ("binance", "kraken", "bybit", "okx", "coinbase")
each_code = pytest.mark.parametrize("code", CODES)

# How each exchange names (symbol, id, price, quantity, time, side), and how it frames elements.
NAMES = {
    "binance": ("s", "t", "p", "q", "T", "m"),
    "kraken": ("symbol", "trade_id", "price", "qty", "timestamp", "side"),
    "bybit": ("s", "i", "p", "v", "T", "S"),
    "okx": ("instId", "tradeId", "px", "sz", "ts", "side"),
    "coinbase": ("product_id", "trade_id", "price", "size", "time", "side"),
}
FRAMES: dict[str, Callable[[list[str]], str]] = {
    "binance": lambda elements: f'{{"stream":"x@trade","data":{elements[0]}}}',
    "kraken": lambda elements: f'{{"channel":"trade","type":"update","data":[{",".join(elements)}]}}',
    "bybit": lambda elements: f'{{"topic":"publicTrade.X","ts":1,"data":[{",".join(elements)}]}}',
    "okx": lambda elements: f'{{"arg":{{"channel":"trades","instId":"X"}},"data":[{", ".join(elements)}]}}',
    "coinbase": lambda elements: (
        f'{{"channel":"market_trades","events":[{{"type":"update","trades":[{",".join(elements)}]}}]}}'
    ),
}
SIDES = {
    "binance": {"true": "SELL", "false": "BUY"},
    "kraken": {'"buy"': "BUY", '"sell"': "SELL"},
    "bybit": {'"Buy"': "BUY", '"Sell"': "SELL"},
    "okx": {'"buy"': "BUY", '"sell"': "SELL"},
    "coinbase": {'"BUY"': "SELL", '"SELL"': "BUY"},
}

numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
strings = st.text(st.characters(codec="utf-8"), max_size=12)
tokens = st.one_of(
    numbers.map(lambda token: (token, token)),
    strings.map(lambda value: (json.dumps(value), value)),
    strings.map(lambda value: (json.dumps(value, ensure_ascii=False), value)),
)


def element(code: str, tokens_: list[str], side: str) -> str:
    members = [f'"{name}":{token}' for name, token in zip(NAMES[code], [*tokens_, side], strict=True)]
    members.insert(2, '"other" : {"p":"9","nested":[1.0,"]}"]}')
    if code == "binance":
        members.insert(0, '"e":"trade"')
    return "{" + ",".join(members) + "}"


def of(parsed: object) -> list[Trade]:
    assert isinstance(parsed, Trades), parsed
    return parsed.records


@each_code
@given(data=st.data())
@settings(max_examples=settings().max_examples * 2, deadline=None)
def test_every_field_keeps_its_characters(code: str, data: st.DataObject) -> None:
    count = 1 if code == "binance" else data.draw(st.integers(1, 4))
    drawn = [data.draw(st.lists(tokens, min_size=5, max_size=5)) for _ in range(count)]
    sides = [data.draw(st.sampled_from(sorted(SIDES[code]))) for _ in range(count)]
    elements = [element(code, [token for token, _ in one], side) for one, side in zip(drawn, sides, strict=True)]
    frame = FRAMES[code](elements)
    records = of(exchange(code).parse(frame.encode()))
    assert len(records) == count
    for record, one, side, text in zip(records, drawn, sides, elements, strict=True):
        symbol, trade_id, price, quantity, time = (value for _, value in one)
        assert record.payload == (frame if code == "binance" else text)
        assert record.side == SIDES[code][side]
        assert (record.symbol, record.trade_id, record.price, record.quantity, record.timestamp) == (
            symbol,
            trade_id,
            price,
            quantity,
            time,
        )


@pytest.mark.parametrize("token", ["0.00000024", "1.50", "1E-8", "100000000000000000000000000.10", "-0.0"])
@each_code
def test_numbers_and_strings_alike_keep_digits_a_float_would_lose(code: str, token: str) -> None:
    for sent in (token, f'"{token}"'):
        frame = FRAMES[code]([element(code, ['"X"', "7", sent, sent, "1"], next(iter(SIDES[code])))])
        record = of(exchange(code).parse(frame.encode()))[0]
        assert (record.price, record.quantity) == (token, token)


@pytest.mark.parametrize("missing", range(6))
@each_code
def test_a_trade_without_a_field_is_still_a_trade_with_that_field_empty(code: str, missing: int) -> None:
    full = element(code, ['"X"', '"7"', '"1.5"', '"2.50"', '"1700000000000"'], next(iter(SIDES[code])))
    name = NAMES[code][missing]
    for text in (
        json.dumps({key: value for key, value in json.loads(full).items() if key != name}),
        json.dumps({key: None if key == name else value for key, value in json.loads(full).items()}),
    ):
        record = of(exchange(code).parse(FRAMES[code]([text]).encode()))[0]
        fields = (
            record.symbol, record.trade_id, record.price, record.quantity, record.timestamp, record.side,
        )  # fmt: skip
        expected = ["X", "7", "1.5", "2.50", "1700000000000", next(iter(SIDES[code].values()))]
        expected[missing] = ""
        assert list(fields) == expected


@pytest.mark.parametrize("odd", ['{"a":[1,2]}', "[1]", "true", '"up"'])
@each_code
def test_an_odd_value_goes_on_as_it_was_sent(code: str, odd: str) -> None:
    text = element(code, ['"X"', "7", odd, odd, "1"], '"up"')
    record = of(exchange(code).parse(FRAMES[code]([text]).encode()))[0]
    assert record.price == record.quantity == odd.strip('"')
    assert record.side == "up"


@pytest.mark.parametrize("code", CODES[1:])
def test_an_element_that_is_no_object_is_published_alone_and_its_neighbours_are_trades(code: str) -> None:
    good = element(code, ['"X"', "7", '"1"', '"2"', "1"], next(iter(SIDES[code])))
    records = of(exchange(code).parse(FRAMES[code]([good, "5", good]).encode()))
    assert [record.payload for record in records] == [good, "5", good]
    assert records[1] == Trade("", "", "", "", "", "", "", "5")


HOSTILE = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b"{",
    b"\xff\xfe",
    b"\x00",
    b'"trade"',
    b"NaN",
    b'{"e":"trade","p":NaN}',
    b'{"channel":"trade","data":[{"price":Infinity}]}',
    b'{"channel":"trade","data":{}}',
    b'{"channel":"trade"}',
    b'{"channel":{},"data":[]}',
    b'{"topic":"publicTrade.X","data":"x"}',
    b'{"topic":5}',
    b'{"arg":5,"data":[]}',
    b'{"arg":{"channel":"trades"},"data":5}',
    b'{"channel":"market_trades","events":[5]}',
    b'{"channel":"market_trades","events":[{"trades":5}]}',
    b'{"stream":"x@trade","data":[]}',
    b'{"stream":"x@trade","data":"trade"}',
    b'{"stream":5,"data":{"e":{"e":"trade"}}}',
    b'{"e":"trade","s":"\xff"}',
    b'{"e":"trade","s":"\\ud800"}',
    b'{"e":"a_future_event"}',
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b'{"e":"trade","p":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b"x" * 10_000_000,
    b'{"channel":"a_future_channel","data":[]}',
]  # fmt: skip


@each_code
@pytest.mark.parametrize("frame", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_frames_are_unrecognised(code: str, frame: bytes) -> None:
    parsed = exchange(code).parse(frame)
    assert isinstance(parsed, Unrecognised)


@each_code
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_a_trade_frame_that_is_not_utf8_is_unrecognised(code: str, place: str) -> None:
    good = element(code, ['"X"', "7", '"1"', '"2"', "1"], next(iter(SIDES[code])))
    frame = FRAMES[code]([good]).encode()
    assert isinstance(exchange(code).parse(frame), Trades)
    broken = frame.replace(b'{"p":"9"', b'{"p":"\xff"') if place == "inside" else b'{"other":"\xff",' + frame[1:]
    assert broken != frame
    assert isinstance(exchange(code).parse(broken), Unrecognised)


def test_a_10_mb_trade_is_a_trade() -> None:
    text = element("binance", ['"X"', "7", '"1"', '"2"', "1"], "true")[:-1] + ',"pad":"' + "x" * 10_000_000 + '"}'
    assert of(exchange("binance").parse(text.encode()))[0].trade_id == "7"


@each_code
@given(frame=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="replace"))))
@settings(max_examples=settings().max_examples * 2, deadline=None)
@example(frame=b"pong")
def test_no_bytes_make_a_parser_raise(code: str, frame: bytes) -> None:
    assert isinstance(exchange(code).parse(frame), Trades | Control | Unrecognised)


KEYS = ["e", "s", "p", "data", "stream", "channel", "topic", "arg", "events", "trades", "op", "method"]
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("trade"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(KEYS),
        inner | st.sampled_from(["trade", "trades", "publicTrade.X", "market_trades", "x@trade"]),
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@each_code
@given(value=json_values)
@settings(max_examples=settings().max_examples * 2, deadline=None)
def test_no_json_makes_a_parser_raise(code: str, value: Any) -> None:
    frame = json.dumps(value).encode()
    parsed = exchange(code).parse(frame)
    assert isinstance(parsed, Trades | Control | Unrecognised)
    if isinstance(parsed, Trades):
        assert parsed.records
        assert all(trade.payload.encode() in frame for trade in parsed.records)


@each_code
@given(data=st.data())
@settings(max_examples=settings().max_examples * 2, deadline=None)
def test_a_frame_cut_short_is_unrecognised(code: str, data: st.DataObject) -> None:
    good = element(code, ['"X"', "7", '"1"', '"2"', "1"], next(iter(SIDES[code])))
    frame = FRAMES[code]([good]).encode()
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert isinstance(exchange(code).parse(frame[:cut]), Unrecognised)


OTHERS = [
    ("binance", '{"result":null,"id":1}', "ack"),
    ("binance", '{"error":{"code":2,"msg":"Invalid request"},"id":1}', "error"),
    ("binance", '{"u":1,"s":"X","b":"1","B":"1","a":"1","A":"1"}', "bookTicker"),
    ("binance", '{"stream":"x@aggTrade","data":{"e":"aggTrade","s":"X","a":1,"p":"1","m":true}}', "aggTrade"),
    ("binance", '{"e":"24hrTicker","s":"X","p":"1","q":"1"}', "24hrTicker"),
    ("binance", '{"stream":"!miniTicker@arr","data":[{"e":"24hrTicker"},{"e":"24hrTicker"}]}', "24hrTicker"),
    ("binance", '[{"e":"24hrTicker"}]', "24hrTicker"),
    ("binance", '{"stream":"x@depth5","data":{"lastUpdateId":1,"bids":[],"asks":[]}}', "depth"),
    ("kraken", '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD"}]}', "ticker"),
    ("kraken", '{"method":"pong","req_id":1}', "pong"),
    ("kraken", '{"error":"Currency pair not supported","method":"subscribe","success":false}', "error"),
    ("kraken", '{"channel":"trade","type":"update","data":[]}', "no_trades"),
    ("bybit", '{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"","op":"ping"}', "pong"),
    ("bybit", '{"success":false,"ret_msg":"error","op":"subscribe"}', "error"),
    ("bybit", '{"topic":"orderbook.50.BTCUSDT","data":{}}', "orderbook"),
    ("okx", "pong", "pong"),
    ("okx", '{"event":"error","code":"60018","msg":"x"}', "error"),
    ("okx", '{"arg":{"channel":"candle1m","instId":"X"},"data":[]}', "candle"),
    ("okx", '{"arg":{"channel":"tickers","instId":"X"},"data":[{"last":"1"}]}', "tickers"),
    ("coinbase", '{"type":"error","message":"x"}', "error"),
    ("coinbase", '{"channel":"l2_data","events":[{"type":"update","updates":[]}]}', "l2_data"),
    ("coinbase", '{"channel":"market_trades","events":[{"type":"snapshot","trades":[]}]}', "no_trades"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "frame", "kind"), OTHERS)
def test_known_messages_without_a_trade(code: str, frame: str, kind: str) -> None:
    parsed = exchange(code).parse(frame.encode())
    assert isinstance(parsed, Control)
    assert parsed.kind == kind


def test_binance_takes_the_raw_endpoint_and_microseconds() -> None:
    frame = (
        b'{"e":"trade","T":1720000000123456,"s":"BTCUSD_PERP","t":9,"p":"6.10","q":"3","X":"INSURANCE_FUND","m":false}'
    )
    assert of(exchange("binance_coinm").parse(frame)) == [
        Trade("BTCUSD_PERP", "9", "6.10", "3", "1720000000123456", "BUY", "", frame.decode(), "insurance_fund")
    ]


def test_bybit_sequence_orders_by_seq_then_place_in_it_and_fits_64_bits() -> None:
    elements = [f'{{"s":"X","i":"{name}","seq":{seq},"T":1}}' for name, seq in (("z", 5), ("y", 5), ("x", 6))]
    records = of(exchange("bybit").parse(FRAMES["bybit"](elements).encode()))
    assert [record.sequence for record in records] == ["50000", "50001", "60000"]
    odd = of(exchange("bybit").parse(FRAMES["bybit"](['{"seq":"-1"}', "{}", '{"seq":"٣"}']).encode()))
    assert [record.sequence for record in odd] == ["-1", "", "٣"]


# Symbols a message, and characters a message, that the exchanges document or that are well within.
MOST_SYMBOLS = {"binance": 200, "kraken": 100, "bybit": 10, "okx": 100, "coinbase": 100}
MOST_CHARACTERS = {"binance": 4_096, "okx": 65_536, "bybit": 21_000}


@pytest.mark.parametrize("code", REGISTRY)
@given(count=st.integers(1, 1_000))
@settings(max_examples=20)
def test_subscribe_messages_keep_to_the_exchange_s_limits(code: str, count: int) -> None:
    symbols = [f"SYMBOL{number}-USDT" for number in range(count)]
    venue = code.partition("_")[0]
    for message in messages(exchange(code), symbols):
        assert message.count("SYMBOL") + message.count("symbol") - message.count('"symbol"') <= MOST_SYMBOLS[venue]
        assert len(message) <= MOST_CHARACTERS.get(venue, 1 << 16)


@pytest.mark.parametrize("code", REGISTRY)
def test_subscribe_messages_name_every_symbol_once(code: str) -> None:
    symbols = [f"SYM{number}" for number in range(250)]
    sent = messages(exchange(code), symbols)
    text = " ".join(sent).upper()
    assert all(json.loads(message) for message in sent)
    assert all(text.count(f'{symbol}"') + text.count(f"{symbol}@") == 1 for symbol in symbols)
