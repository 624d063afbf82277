"""Kraken spot, WebSocket API v2: channel `trade`, several trades a message, numbers as JSON numbers.

Wire format: docs.kraken.com, "WebSocket v2 / Trades". On every subscription with `snapshot` the last 50
trades come again. `side` is the taker's.
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
    NO_TRADES,
    PONG,
    STATUS,
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

_SIDES = {"buy": "BUY", "sell": "SELL"}
_SYMBOLS_A_MESSAGE = 100
_CHANNELS = {
    "heartbeat": HEARTBEAT,
    "status": STATUS,
    **{name: name for name in ("book", "instrument", "level3", "ohlc", "ticker")},
}
_METHODS = {"subscribe": ACK, "unsubscribe": ACK, "ping": PONG, "pong": PONG}


class _Frame(msgspec.Struct, gc=False):
    channel: Raw = ABSENT
    data: Raw = ABSENT
    method: Raw = ABSENT
    error: Raw = ABSENT
    success: Raw = ABSENT


class _Element(msgspec.Struct, gc=False):
    symbol: Raw = ABSENT
    trade_id: Raw = ABSENT
    price: Raw = ABSENT
    qty: Raw = ABSENT
    timestamp: Raw = ABSENT
    side: Raw = ABSENT


_frame = Decoder(_Frame)
_element = Decoder(_Element)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of Kraken's v2 public feed. Never raises."""
    frame.decode()
    message = _frame.decode(frame)
    channel = text(message.channel)
    if channel == "trade":
        records = [_trade(element) for element in elements(message.data)]
        return Trades(records) if records else Control(NO_TRADES)
    if channel:
        return Control(_CHANNELS[channel]) if channel in _CHANNELS else UNRECOGNISED
    if token(message.error) or token(message.success) == "false":
        return Control(ERROR)
    kind = _METHODS.get(text(message.method))
    return Control(kind) if kind else UNRECOGNISED


def _trade(raw: Raw) -> Trade:
    payload = token(raw)
    try:
        element = _element.decode(raw)
    except msgspec.ValidationError:
        return unreadable_element(payload)
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


def subscribe(symbols: Sequence[str]) -> list[str]:
    """Subscribe messages of the symbols' trades, the last 50 trades of each first."""
    return [
        msgspec.json.encode(
            {"method": "subscribe", "params": {"channel": "trade", "symbol": list(chunk), "snapshot": True}}
        ).decode()
        for chunk in chunks(symbols, _SYMBOLS_A_MESSAGE)
    ]


EXCHANGES = (
    # About 150 connections in 10 minutes an IP.
    Exchange(
        "kraken",
        "wss://ws.kraken.com/v2",
        parse,
        subscribe,
        ping='{"method":"ping"}',
        idle_timeout_s=30.0,
        connects=Rate(150, 600.0),
        ack_each_symbol=True,
    ),
)
