"""Kraken spot, WebSocket API v2: channel `trade`, several trades a message, numbers as JSON numbers.

Wire format: docs.kraken.com, "WebSocket v2 / Trades". A subscription with `snapshot` brings the last 50 trades again.
`side` is the taker's. Every trade is one match in the order book (looked up 2026-11-28). `ord_type` is the type of the
taker's order, limit or market; it is no kind of trade.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    ERROR,
    HEARTBEAT,
    PONG,
    STATUS,
    Control,
    Exchange,
    Pages,
    Parsed,
    Rate,
    Rest,
    RestError,
    SubscriptionAnswer,
    Trade,
    TradeSpan,
)
from producers.exchanges.parsing import (
    ABSENT,
    control_of,
    counter,
    elements,
    fields,
    members,
    read_elements,
    refusal,
    text,
    token,
    total,
    trades_of,
)

_SIDES = {"buy": "BUY", "sell": "SELL"}
_CHANNELS = {
    "heartbeat": HEARTBEAT,
    "status": STATUS,
    **{name: name for name in ("book", "instrument", "level3", "ohlc", "ticker")},
}
_METHODS = {"unsubscribe": ACK, "ping": PONG, "pong": PONG}


class _KrakenFrame(msgspec.Struct, gc=False):
    channel: Raw = ABSENT
    data: Raw = ABSENT
    method: Raw = ABSENT
    error: Raw = ABSENT
    success: Raw = ABSENT
    symbol: Raw = ABSENT
    result: Raw = ABSENT
    req_id: Raw = ABSENT


class _KrakenTrade(msgspec.Struct, gc=False):
    symbol: Raw = ABSENT
    trade_id: Raw = ABSENT
    price: Raw = ABSENT
    qty: Raw = ABSENT
    timestamp: Raw = ABSENT
    side: Raw = ABSENT


_frame = Decoder(_KrakenFrame)
_element = Decoder(_KrakenTrade)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of Kraken's v2 public feed. Never raises."""
    frame.decode()
    message = _frame.decode(frame)
    channel = text(message.channel)
    if channel == "trade":
        return trades_of(read_elements(message.data, _element, _trade))
    if channel:
        return control_of(_CHANNELS, channel)
    method = text(message.method)
    if token(message.error) or token(message.success) == "false":
        return _refusal(message) if method == "subscribe" else Control(ERROR)
    if method == "subscribe":
        return Control(
            ACK, SubscriptionAnswer(_named(members(message.result).get("symbol", ABSENT)), counter(message.req_id))
        )
    return control_of(_METHODS, method)


def _refusal(message: _KrakenFrame) -> Control:
    return refusal(text(message.error), _named(message.symbol), counter(message.req_id))


def _named(symbol: Raw) -> tuple[str, ...] | None:
    name = text(symbol)
    return (name,) if name else None


def _trade(element: _KrakenTrade, payload: str) -> Trade:
    side = text(element.side)
    return Trade(
        text(element.symbol),
        text(element.trade_id),
        text(element.price),
        text(element.qty),
        text(element.timestamp),
        _SIDES.get(side, side),
        "",
        payload,
    )


def subscribe(symbols: Sequence[str], number: int) -> str:
    """The subscribe message for the symbols' trades. Kraken first sends the last 50 trades of each."""
    asked = {"channel": "trade", "symbol": list(symbols), "snapshot": True}
    return msgspec.json.encode({"method": "subscribe", "params": asked, "req_id": number}).decode()


_REST_SIDES = {"b": "BUY", "s": "SELL"}
# Assets whose names differ in v2 and REST.
_REST_ASSETS = {"BTC": "XBT", "DOGE": "XDG"}


def _rest_newest(symbol: str) -> str:
    pair = "".join(_REST_ASSETS.get(asset, asset) for asset in symbol.split("/"))
    return f"/0/public/Trades?pair={pair}&count=1000"


def _rest_request(symbol: str, span: TradeSpan) -> str:
    # `since` is exclusive, in ns. One ns less, so that trades of that time come again.
    return f"{_rest_newest(symbol)}&since={max(span.since_us * 1_000 - 1, 0)}"


def _rest_parse(symbol: str, answer: bytes) -> list[Trade]:
    message = fields(answer)
    errors = elements(message.get("error", Raw(b"[]")))
    if errors or "result" not in message:
        raise RestError(f"Kraken: {[text(error) for error in errors]}")
    lists = [raw for name, raw in fields(message["result"]).items() if name != "last"]
    found = []
    for raw in elements(lists[0]) if lists else ():
        price, quantity, moment, side, _, _, number = (text(part) for part in elements(raw)[:7])
        found.append(Trade(symbol, number, price, quantity, moment, _REST_SIDES.get(side, side), "", token(raw)))
    return found


EXCHANGES = (
    # About 150 connections in 10 minutes from an IP.
    Exchange(
        "kraken",
        "wss://ws.kraken.com/v2",
        parse,
        subscribe,
        ping='{"method":"ping"}',
        idle_timeout_s=30.0,
        connects=Rate(150, 600.0),
        title="Kraken spot",
        answers_each_symbol=True,
        # About one public call a second.
        rest=Rest(
            "https://api.kraken.com",
            Rate(1, 1.0),
            Pages.FORWARD,
            _rest_request,
            _rest_newest,
            _rest_parse,
            by_time=True,
        ),
    ),
)
