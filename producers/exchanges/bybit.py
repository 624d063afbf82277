"""Bybit v5 public streams, spot and linear: topic `publicTrade.<symbol>`, several trades a message.

Wire format: bybit-exchange.github.io/docs/v5/websocket/public/trade. `S` is the taker's side. Trades are
ordered by (`T`, `seq`, place in the message): `seq` is shared by the trades of one match and linear ids are
UUIDs. The envelope's `sequence` is therefore seq * 10,000 + the place in the message (a message holds at most
1,024 trades), a function of the message alone, so that a re-sent message gets the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    ERROR,
    NO_TRADES,
    PONG,
    UNRECOGNISED,
    Control,
    Exchange,
    Parsed,
    Rate,
    Trade,
    Trades,
    chunks,
    total,
    unreadable_element,
)
from producers.exchanges.tokens import ABSENT, elements, text, token

PLACES = 10_000
_SIDES = {"Buy": "BUY", "Sell": "SELL"}
_TOPICS_A_MESSAGE = 10  # the limit of spot; linear has none but a length
_OTHER_TOPICS = frozenset(
    (
        "adlAlert",
        "allLiquidation",
        "insurance",
        "kline",
        "kline_lt",
        "liquidation",
        "lt",
        "orderbook",
        "priceLimit",
        "tickers",
        "tickers_lt",
    )
)
_OPERATIONS = {"subscribe": ACK, "unsubscribe": ACK, "ping": PONG, "pong": PONG}


class _Frame(msgspec.Struct, gc=False):
    topic: Raw = ABSENT
    data: Raw = ABSENT
    op: Raw = ABSENT
    success: Raw = ABSENT


class _Element(msgspec.Struct, gc=False):
    s: Raw = ABSENT
    i: Raw = ABSENT
    p: Raw = ABSENT
    v: Raw = ABSENT
    T: Raw = ABSENT
    S: Raw = ABSENT
    seq: Raw = ABSENT


_frame = Decoder(_Frame)
_element = Decoder(_Element)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of Bybit's public feed. Never raises."""
    frame.decode()
    message = _frame.decode(frame)
    topic = text(message.topic).partition(".")[0]
    if topic == "publicTrade":
        records = [_trade(place, element) for place, element in enumerate(elements(message.data))]
        return Trades(records) if records else Control(NO_TRADES)
    if topic:
        return Control(topic) if topic in _OTHER_TOPICS else UNRECOGNISED
    if token(message.success) == "false":
        return Control(ERROR)
    kind = _OPERATIONS.get(text(message.op))
    return Control(kind) if kind else UNRECOGNISED


def _trade(place: int, raw: Raw) -> Trade:
    payload = token(raw)
    try:
        element = _element.decode(raw)
    except msgspec.ValidationError:
        return unreadable_element(payload)
    side = text(element.S)
    return Trade(
        text(element.s),
        text(element.i),
        text(element.p),
        text(element.v),
        text(element.T),
        _SIDES.get(side, side),
        _sequence(text(element.seq), place),
        payload,
    )


def _sequence(seq: str, place: int) -> str:
    # Text that is no counter goes on as it is: Silver names it as the reason.
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 19):
        return seq
    return str(int(seq) * PLACES + min(place, PLACES - 1))


def subscribe(symbols: Sequence[str]) -> list[str]:
    """Subscribe messages of the symbols' trades."""
    return [
        msgspec.json.encode({"op": "subscribe", "args": [f"publicTrade.{symbol}" for symbol in chunk]}).decode()
        for chunk in chunks(symbols, _TOPICS_A_MESSAGE)
    ]


def _market(code: str, category: str) -> Exchange:
    url = f"wss://stream.bybit.com/v5/public/{category}"
    # 500 connections in 5 minutes an IP; the topics of one connection may be 21,000 characters long.
    return Exchange(code, url, parse, subscribe, ping='{"op":"ping"}', connects=Rate(500, 300.0))


EXCHANGES = (_market("bybit", "spot"), _market("bybit_linear", "linear"))
