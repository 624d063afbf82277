"""OKX v5 public feed: channel `trades-all`, one message a match, ids counted for each instrument.

Wire format: okx.com/docs-v5, "WS / All trades channel" (business endpoint, without a login) and "WS / Trades channel".
`side` is the taker's. `sz` counts contracts on swaps and futures. `ts` is the trade time in ms, as a string.

Matches (sources looked up 2026-11-28): `trades` sends one message for each taker order, price and source. It has the
last id, and the number of matches in `count`: `tradeId` 123 with `count` 3 stands for 121, 122 and 123 (same page).
`trades-all` and REST list each match, so we subscribe to `trades-all`. The parser reads both.

Kinds of trade: `source` 0 is an ordinary order, 1 an ELP order (changelog of 2025-11-26; renamed RPI on 2026-07-28),
which is matched in the order book. Block trades have their own channel, `public-block-trades`, which is a control
message here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    ERROR,
    PONG,
    STATUS,
    UNRECOGNISED,
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
    fields,
    members,
    read_elements,
    refusal,
    text,
    total,
    trades_of,
)
from schemas.kinds import TradeKind

# Sources in the order book; "" is that of trades before 2025-11-26.
_KINDS = {"0": "", "1": TradeKind.RPI.value, "": ""}
_SIDES = {"buy": "BUY", "sell": "SELL"}
_TRADE_CHANNELS = frozenset(("trades", "trades-all"))
_OTHER_CHANNELS = frozenset(
    (
        "adl-warning",
        "bbo-tbt",
        "books",
        "books-l2-tbt",
        "books5",
        "books50-l2-tbt",
        "call-auction-details",
        "estimated-price",
        "funding-rate",
        "index-tickers",
        "instruments",
        "liquidation-orders",
        "mark-price",
        "open-interest",
        "opt-summary",
        "option-trades",
        "price-limit",
        "public-block-trades",
        "public-struc-block-trades",
        "status",
        "tickers",
    )
)
_CANDLES = ("candle", "index-candle", "mark-price-candle")
_EVENTS = {
    "unsubscribe": ACK,
    "login": ACK,
    "notice": STATUS,
    "channel-conn-count": STATUS,
    "channel-conn-count-error": ERROR,
}


class _Argument(msgspec.Struct, gc=False):
    channel: Raw = ABSENT


class _OkxFrame(msgspec.Struct, gc=False):
    event: Raw = ABSENT
    arg: Raw = ABSENT
    data: Raw = ABSENT
    id: Raw = ABSENT
    msg: Raw = ABSENT


class _OkxTrade(msgspec.Struct, gc=False):
    instId: Raw = ABSENT  # noqa: N815  # OKX's spelling
    tradeId: Raw = ABSENT  # noqa: N815
    px: Raw = ABSENT
    sz: Raw = ABSENT
    ts: Raw = ABSENT
    side: Raw = ABSENT
    count: Raw = ABSENT
    source: Raw = ABSENT


_frame = Decoder(_OkxFrame)
_argument = Decoder(_Argument)
_element = Decoder(_OkxTrade)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of OKX's public feed. Never raises."""
    frame.decode()
    if frame == b"pong":
        return Control(PONG)
    message = _frame.decode(frame)
    event = text(message.event)
    if event:
        return _said(message, event)
    channel = text(_argument.decode(message.arg).channel)
    if channel in _TRADE_CHANNELS:
        return trades_of(read_elements(message.data, _element, _trade))
    if channel in _OTHER_CHANNELS:
        return Control(channel)
    # The candle's length, or any other text, follows the name. It must not become a metric label.
    return next((Control(name) for name in _CANDLES if channel.startswith(name)), UNRECOGNISED)


def _said(message: _OkxFrame, event: str) -> Parsed:
    if event == "subscribe":
        instrument = text(members(message.arg).get("instId", ABSENT))
        return Control(ACK, SubscriptionAnswer((instrument,) if instrument else None, counter(message.id)))
    if event == "error":
        # The words name the instrument.
        return refusal(text(message.msg), None, counter(message.id))
    return control_of(_EVENTS, event)


def kind_of(source: str) -> str:
    """The kind of a trade, from its `source`."""
    known = _KINDS.get(source)
    return f"source={source}" if known is None else known


def _trade(element: _OkxTrade, payload: str) -> Trade:
    side, count, source = text(element.side), text(element.count), text(element.source)
    return Trade(
        text(element.instId),
        text(element.tradeId),
        text(element.px),
        text(element.sz),
        text(element.ts),
        _SIDES.get(side, side),
        "",
        payload,
        kind_of(source),
        "" if count == "1" else count,
    )


def subscribe(symbols: Sequence[str], number: int) -> str:
    """The subscribe message for the instruments' trades."""
    channels = [{"channel": "trades-all", "instId": symbol} for symbol in symbols]
    return msgspec.json.encode({"id": str(number), "op": "subscribe", "args": channels}).decode()


def _rest_newest(symbol: str) -> str:
    return f"/api/v5/market/history-trades?instId={symbol}&type=1&limit=100"


def _rest_request(symbol: str, span: TradeSpan) -> str:
    return f"{_rest_newest(symbol)}&after={span.last + 1}"


def _rest_parse(_symbol: str, answer: bytes) -> list[Trade]:
    message = fields(answer)
    if text(message.get("code", ABSENT)) != "0" or "data" not in message:
        raise RestError(f"OKX: {answer[:200].decode(errors='replace')}")
    return read_elements(message["data"], _element, _trade)[::-1]


EXCHANGES = (
    # 3 connections a second from an IP. 480 requests an hour on a connection, hence the interval.
    Exchange(
        "okx",
        "wss://ws.okx.com:8443/ws/v5/business",
        parse,
        subscribe,
        ping="ping",
        send_interval_s=0.35,
        connects=Rate(3, 1.0),
        title="OKX spot, swaps and futures",
        answers_each_symbol=True,
        # 20 calls in 2 seconds from an IP.
        rest=Rest(
            "https://www.okx.com",
            Rate(16, 2.0),
            Pages.BACKWARD,
            _rest_request,
            _rest_newest,
            _rest_parse,
            reach_s=90 * 86_400.0,
            page=100,
        ),
    ),
)
