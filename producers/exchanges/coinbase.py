"""Coinbase Advanced Trade: channel `market_trades`, events of several trades, newest first.

Wire format: docs.cdp.coinbase.com, "Advanced Trade WebSocket / Market Trades Channel". `side` is the *maker's*, so the
taker's is the opposite. Data may come before the acknowledgement. No member tells kinds of trade apart. Each trade is
one match (looked up 2026-11-28).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    HEARTBEAT,
    STATUS,
    UNRECOGNISED,
    Control,
    Exchange,
    Pages,
    Parsed,
    Rate,
    Rest,
    SubscriptionAnswer,
    Trade,
    TradeSpan,
)
from producers.exchanges.parsing import (
    ABSENT,
    control_of,
    elements,
    members,
    read_elements,
    refusal,
    text,
    token,
    total,
    trades_of,
)

_TAKER_OF_MAKER = {"BUY": "SELL", "SELL": "BUY"}
_CHANNELS = {
    "heartbeats": HEARTBEAT,
    "status": STATUS,
    **{name: name for name in ("candles", "l2_data", "ticker", "ticker_batch")},
}


class _CoinbaseFrame(msgspec.Struct, gc=False):
    channel: Raw = ABSENT
    events: Raw = ABSENT
    type: Raw = ABSENT
    message: Raw = ABSENT
    reason: Raw = ABSENT


class _CoinbaseEvent(msgspec.Struct, gc=False):
    trades: Raw


class _CoinbaseTrade(msgspec.Struct, gc=False):
    product_id: Raw = ABSENT
    trade_id: Raw = ABSENT
    price: Raw = ABSENT
    size: Raw = ABSENT
    time: Raw = ABSENT
    side: Raw = ABSENT


_frame = Decoder(_CoinbaseFrame)
_event = Decoder(_CoinbaseEvent)
_element = Decoder(_CoinbaseTrade)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of Coinbase's market data feed. Never raises."""
    frame.decode()
    message = _frame.decode(frame)
    channel = text(message.channel)
    if channel == "market_trades":
        lists = [_event.decode(event).trades for event in elements(message.events)]
        return trades_of([trade for one in lists for trade in read_elements(one, _element, _trade)])
    if channel == "subscriptions":
        return Control(ACK, SubscriptionAnswer(_subscribed(message.events)))
    if channel:
        return control_of(_CHANNELS, channel)
    if text(message.type) != "error":
        return UNRECOGNISED
    return refusal(": ".join(part for part in (text(message.message), text(message.reason)) if part))


def _subscribed(events: Raw) -> tuple[str, ...]:
    """The products whose trades the connection gets. Each answer lists all of them."""
    none = Raw(b"[]")
    channels = [members(members(event).get("subscriptions", ABSENT)) for event in elements(events or none)]
    return tuple(text(product) for one in channels for product in elements(one.get("market_trades", none)))


def _trade(element: _CoinbaseTrade, payload: str) -> Trade:
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


def subscribe(symbols: Sequence[str], number: int) -> str:  # noqa: ARG001  # Coinbase's answers have no number
    """The subscribe message for the products' trades. One unknown product makes Coinbase refuse all."""
    message = {"type": "subscribe", "product_ids": list(symbols), "channel": "market_trades"}
    return msgspec.json.encode(message).decode()


class _CoinbaseRestTrade(msgspec.Struct, gc=False):
    trade_id: Raw = ABSENT
    price: Raw = ABSENT
    size: Raw = ABSENT
    time: Raw = ABSENT
    side: Raw = ABSENT


_rest_trade = Decoder(_CoinbaseRestTrade)


def _rest_newest(symbol: str) -> str:
    return f"/products/{symbol}/trades?limit=1000"


def _rest_request(symbol: str, span: TradeSpan) -> str:
    return f"{_rest_newest(symbol)}&after={span.last + 1}"


def _rest_parse(symbol: str, answer: bytes) -> list[Trade]:
    """Trades from Coinbase Exchange: the same trades and ids as Advanced Trade, whose REST pages only by time."""
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
    # 8 connections a second from an IP.
    Exchange(
        "coinbase",
        "wss://advanced-trade-ws.coinbase.com",
        parse,
        subscribe,
        # Coinbase closes a quiet feed that has no heartbeats.
        greeting=('{"type":"subscribe","channel":"heartbeats"}',),
        idle_timeout_s=30.0,
        connects=Rate(8, 1.0),
        title="Coinbase Advanced",
        # 10 public calls a second from an IP.
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
