"""Coinbase Advanced Trade: channel `market_trades`, events of several trades, newest first.

Wire format: docs.cdp.coinbase.com, "Advanced Trade WebSocket / Market Trades Channel". `side` is the *maker's*,
so the taker's is the opposite. Data may come before the acknowledgement. No member tells kinds of trade apart, and
each trade is one match (looked up 2026-11-28).
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
from producers.exchanges.rest import Pages, Rest, Span
from producers.exchanges.tokens import ABSENT, elements, text, token

_TAKER_OF_MAKER = {"BUY": "SELL", "SELL": "BUY"}
_PRODUCTS_A_MESSAGE = 100
_CHANNELS = {
    "subscriptions": ACK,
    "heartbeats": HEARTBEAT,
    "status": STATUS,
    **{name: name for name in ("candles", "l2_data", "ticker", "ticker_batch")},
}


class _Frame(msgspec.Struct, gc=False):
    channel: Raw = ABSENT
    events: Raw = ABSENT
    type: Raw = ABSENT


class _Event(msgspec.Struct, gc=False):
    trades: Raw


class _Element(msgspec.Struct, gc=False):
    product_id: Raw = ABSENT
    trade_id: Raw = ABSENT
    price: Raw = ABSENT
    size: Raw = ABSENT
    time: Raw = ABSENT
    side: Raw = ABSENT


_frame = Decoder(_Frame)
_event = Decoder(_Event)
_element = Decoder(_Element)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of Coinbase's market data feed. Never raises."""
    frame.decode()
    message = _frame.decode(frame)
    channel = text(message.channel)
    if channel == "market_trades":
        records = [
            _trade(element) for event in elements(message.events) for element in elements(_event.decode(event).trades)
        ]
        return Trades(records) if records else Control(NO_TRADES)
    if channel:
        return Control(_CHANNELS[channel]) if channel in _CHANNELS else UNRECOGNISED
    return Control(ERROR) if text(message.type) == "error" else UNRECOGNISED


def _trade(raw: Raw) -> Trade:
    payload = token(raw)
    try:
        element = _element.decode(raw)
    except msgspec.ValidationError:
        return unreadable_element(payload)
    side = text(element.side)
    return Trade(
        text(element.product_id),
        text(element.trade_id),
        text(element.price),
        text(element.size),
        text(element.time),
        _TAKER_OF_MAKER.get(side, side),
        "",
        payload,
    )


def subscribe(symbols: Sequence[str]) -> list[str]:
    """Subscribe messages of the products' trades, and of heartbeats, without which a quiet feed is closed."""
    messages: list[dict[str, object]] = [
        {"type": "subscribe", "product_ids": list(chunk), "channel": "market_trades"}
        for chunk in chunks(symbols, _PRODUCTS_A_MESSAGE)
    ]
    messages.append({"type": "subscribe", "channel": "heartbeats"})
    return [msgspec.json.encode(message).decode() for message in messages]


class _RestTrade(msgspec.Struct, gc=False):
    trade_id: Raw = ABSENT
    price: Raw = ABSENT
    size: Raw = ABSENT
    time: Raw = ABSENT
    side: Raw = ABSENT


_rest_trade = Decoder(_RestTrade)


def _rest_newest(symbol: str) -> str:
    return f"/products/{symbol}/trades?limit=1000"


def _rest_request(symbol: str, span: Span) -> str:
    return f"{_rest_newest(symbol)}&after={span.last + 1}"


def _rest_parse(symbol: str, answer: bytes) -> list[Trade]:
    """Coinbase Exchange's list: the same trades and ids as Advanced, which pages by time only."""
    found = []
    for raw in reversed(elements(Raw(answer))):
        trade = _rest_trade.decode(raw)
        side = text(trade.side).upper()
        found.append(
            Trade(
                symbol,
                text(trade.trade_id),
                text(trade.price),
                text(trade.size),
                text(trade.time),
                _TAKER_OF_MAKER.get(side, side),
                "",
                token(raw),
            )
        )
    return found


EXCHANGES = (
    # 8 connections a second an IP.
    Exchange(
        "coinbase",
        "wss://advanced-trade-ws.coinbase.com",
        parse,
        subscribe,
        idle_timeout_s=30.0,
        connects=Rate(8, 1.0),
        # 10 public calls a second an IP.
        rest=Rest(
            "https://api.exchange.coinbase.com",
            Rate(8, 1.0),
            Pages.BACKWARD,
            _rest_request,
            _rest_newest,
            _rest_parse,
        ),
    ),
)
