"""Invariant: REST answers as the exchanges document them give the trades that they mean.

The answers were not made by this project; where each is from is said beside it. Sides are the taker's here.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchanges import REGISTRY, exchange
from producers.exchanges.model import RestError, Trade, Trades, TradeSpan
from producers.simulator.protocols import PROTOCOLS

SPAN = TradeSpan(5, 9, 1_688_669_597_000_000)
ANSWERS = {
    # Binance, spot API, "Old trade lookup": the documented example. Older ones lack `quoteQty`.
    "binance": (
        "BNBBTC",
        '[{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,'
        '"isBuyerMaker":true,"isBestMatch":true}]',
        [("BNBBTC", "28457", "4.00000100", "12.00000000", "1499865549590", "SELL", "")],
    ),
    # docs.kraken.com, "Get Recent Trades": the documented example (names keyed by the internal pair).
    "kraken": (
        "BTC/USD",
        '{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952],'
        '["30243.30000","0.00376960",1688669598.2804112,"s","l","",61044953],'
        '["30243.30000","0.01235716",1688669602.698379,"s","m","",61044956]],"last":"1688671969993150842"}}',
        [
            ("BTC/USD", "61044952", "30243.40000", "0.34507674", "1688669597.8277369", "BUY", ""),
            ("BTC/USD", "61044953", "30243.30000", "0.00376960", "1688669598.2804112", "SELL", ""),
            ("BTC/USD", "61044956", "30243.30000", "0.01235716", "1688669602.698379", "SELL", ""),
        ],
    ),
    # bybit-exchange.github.io/docs/v5/market/recent-trade: the documented example.
    "bybit": (
        "BTCUSDT",
        '{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"execId":"2100000000007764263","symbol":'
        '"BTCUSDT","price":"16618.49","size":"0.00012","side":"Buy","time":"1672052955758","isBlockTrade":false,'
        '"isRPITrade":true,"seq":"123456"}]},"retExtInfo":{},"time":1672053054358}',
        [("BTCUSDT", "2100000000007764263", "16618.49", "0.00012", "1672052955758", "BUY", "1234560000")],
    ),
    # www.okx.com/docs-v5, "GET / Trades history": the documented example.
    "okx": (
        "BTC-USDT",
        '{"code":"0","msg":"","data":[{"instId":"BTC-USDT","side":"sell","sz":"0.00001","source":"0","px":"29963.2",'
        '"tradeId":"242720720","ts":"1654161646974"},{"instId":"BTC-USDT","side":"sell","sz":"0.00001","source":"0",'
        '"px":"29964.1","tradeId":"242720719","ts":"1654161641568"}]}',
        [
            ("BTC-USDT", "242720719", "29964.1", "0.00001", "1654161641568", "SELL", ""),
            ("BTC-USDT", "242720720", "29963.2", "0.00001", "1654161646974", "SELL", ""),
        ],
    ),
    # Coinbase Exchange, "Get a product's trades": the documented example; `side` is the maker's.
    "coinbase": (
        "BTC-USD",
        '[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.00000000","size":"0.01000000","side":"buy"},'
        '{"time":"2014-11-07T01:08:43.642366Z","trade_id":73,"price":"100.00000000","size":"0.01000000",'
        '"side":"sell"}]',
        [
            ("BTC-USD", "73", "100.00000000", "0.01000000", "2014-11-07T01:08:43.642366Z", "BUY", ""),
            ("BTC-USD", "74", "10.00000000", "0.01000000", "2014-11-07T22:19:28.578544Z", "SELL", ""),
        ],
    ),
}
REQUESTS = {
    "binance": ("/api/v3/historicalTrades?symbol=A&fromId=5&limit=500", "/api/v3/trades?symbol=A&limit=500"),
    "kraken": ("/0/public/Trades?pair=A&count=1000&since=1688669596999999999", "/0/public/Trades?pair=A&count=1000"),
    "bybit": (
        "/v5/market/recent-trade?category=spot&symbol=A&limit=60",
        "/v5/market/recent-trade?category=spot&symbol=A&limit=60",
    ),
    "okx": (
        "/api/v5/market/history-trades?instId=A&type=1&limit=100&after=10",
        "/api/v5/market/history-trades?instId=A&type=1&limit=100",
    ),
    "coinbase": ("/products/A/trades?limit=1000&after=10", "/products/A/trades?limit=1000"),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_a_documented_answer_gives_its_trades_oldest_first(code: str) -> None:
    symbol, answer, expected = ANSWERS[code]
    rest = exchange(code).rest
    assert rest is not None
    trades = rest.parse(symbol, answer.encode())
    assert [(t.symbol, t.trade_id, t.price, t.quantity, t.timestamp, t.side, t.sequence) for t in trades] == expected
    assert all(trade.payload in answer for trade in trades), "the payload is the exchange's own element"


@pytest.mark.parametrize("code", REQUESTS)
def test_what_is_asked_is_what_the_documentation_names(code: str) -> None:
    rest = exchange(code).rest
    assert rest is not None
    assert (rest.request("A", SPAN), rest.newest("A")) == REQUESTS[code]


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        # docs.kraken.com, "Errors"; OKX, "Error code"; Bybit, "Error codes": too many requests, in a 200.
        ("kraken", '{"error":["EAPI:Rate limit exceeded"]}'),
        ("okx", '{"code":"50011","msg":"Requests too frequent.","data":[]}'),
        ("bybit", '{"retCode":10006,"retMsg":"Too many visits!","result":{},"retExtInfo":{},"time":1672053054358}'),
    ],
)
def test_an_error_in_an_answer_is_one(code: str, answer: str) -> None:
    rest = exchange(code).rest
    assert rest is not None
    with pytest.raises(RestError):
        rest.parse("A", json.dumps(json.loads(answer)).encode())


def by_stream(code: str, trades: list[Trade]) -> list[Trade]:
    """The trades as the stream's parser reads them in the frames of the exchange's side of a connection."""
    found: list[Trade] = []
    for frame in PROTOCOLS[code](frozenset()).frames(trades):
        parsed = exchange(code).parse(frame)
        assert isinstance(parsed, Trades), frame
        found += parsed.records
    return [msgspec.structs.replace(trade, payload="") for trade in found]


@pytest.mark.parametrize("code", ANSWERS)
def test_a_trade_of_rest_says_the_same_in_the_form_of_the_stream(code: str) -> None:
    rest = exchange(code).rest
    symbol, body, _ = ANSWERS[code]
    assert rest is not None
    trades = rest.parse(symbol, body.encode())
    assert by_stream(code, trades) == [msgspec.structs.replace(trade, payload="") for trade in trades]


# What each stream can say of a trade beside its texts.
KINDS = {
    "binance": ["insurance_fund", "adl", "X=NEW"],
    "kraken": [""],
    "bybit": ["block", "rpi"],
    "okx": ["rpi", "source=7"],
    "coinbase": [""],
}
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.from_regex(
    r"-?[0-9]{1,9}(\.[0-9]{1,9})?", fullmatch=True
)


@given(st.sampled_from(sorted(REGISTRY)), st.lists(texts, min_size=5, max_size=5), st.data())
def test_any_texts_survive_the_form_of_the_stream(code: str, said: list[str], data: st.DataObject) -> None:
    """A dump's payload is a line of CSV: nothing but the texts tells what the trade was."""
    symbol, trade_id, price, quantity, timestamp = said
    side = data.draw(st.sampled_from(["BUY", "SELL", "both"]))
    kind = data.draw(st.sampled_from(["", *KINDS[code.partition("_")[0]]]))
    sequence = "70000" if code.startswith("bybit") else ""
    trade = Trade(symbol, trade_id, price, quantity, timestamp, side, sequence, '"1,2,3"', kind)
    assert by_stream(code, [trade]) == [msgspec.structs.replace(trade, payload="")]
