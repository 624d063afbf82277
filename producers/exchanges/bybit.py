"""Bybit v5 public streams, spot and linear: topic `publicTrade.<symbol>`, several trades a message.

Wire format: bybit-exchange.github.io/docs/v5/websocket/public/trade. `S` is the taker's side. Trades are ordered by
`T`, `seq` and place in the message: the trades of one match share a `seq`, and linear ids are UUIDs. So the envelope's
`sequence` is `seq` * 10,000 + the place among the trades of that `seq` (a message has at most 1,024). REST's list
gives the same number. A match that the end of its page cuts in two is left out.

Kinds of trade (sources looked up 2026-11-28): `BT` marks a block trade, `RPI` a maker order with retail price
improvement (the page above; `isBlockTrade` and `isRPITrade` in v5/market/recent-trade). The page on klines
(v5/market/kline) does not say which of them count. A block trade is negotiated outside the order book, so candles leave
it out. An RPI order is matched in the book, so candles count it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    ERROR,
    PONG,
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
    flagged,
    members,
    read_elements,
    refusal,
    text,
    token,
    total,
    trades_of,
)
from schemas.kinds import TradeKind

PLACES = 10_000
_SIDES = {"Buy": "BUY", "Sell": "SELL"}
_TOPICS_A_MESSAGE = 10  # the limit of spot; linear limits only the length
_OTHER_TOPICS = {
    name: name
    for name in (
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
}
_OPERATIONS = {"unsubscribe": ACK, "ping": PONG, "pong": PONG}


class _BybitFrame(msgspec.Struct, gc=False):
    topic: Raw = ABSENT
    data: Raw = ABSENT
    op: Raw = ABSENT
    success: Raw = ABSENT
    ret_msg: Raw = ABSENT
    req_id: Raw = ABSENT


class _BybitTrade(msgspec.Struct, gc=False):
    s: Raw = ABSENT
    i: Raw = ABSENT
    p: Raw = ABSENT
    v: Raw = ABSENT
    T: Raw = ABSENT
    S: Raw = ABSENT
    seq: Raw = ABSENT
    BT: Raw = ABSENT
    RPI: Raw = ABSENT


_frame = Decoder(_BybitFrame)
_element = Decoder(_BybitTrade)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of Bybit's public feed. Never raises."""
    frame.decode()
    message = _frame.decode(frame)
    topic = text(message.topic).partition(".")[0]
    if topic == "publicTrade":
        return trades_of(_ordered(read_elements(message.data, _element, _trade)))
    if topic:
        return control_of(_OTHER_TOPICS, topic)
    operation = text(message.op)
    if token(message.success) == "false":
        if operation == "subscribe":
            return refusal(text(message.ret_msg), None, counter(message.req_id))
        return Control(ERROR)
    if operation == "subscribe":
        return Control(ACK, SubscriptionAnswer(None, counter(message.req_id)))
    return control_of(_OPERATIONS, operation)


def _ordered(trades: Iterable[Trade]) -> list[Trade]:
    """Set the order keys of trades, oldest first, whose `sequence` is still the exchange's `seq`."""
    found: list[Trade] = []
    last, place = "", 0
    for trade in trades:
        place = place + 1 if trade.sequence == last else 0
        last = trade.sequence
        found.append(msgspec.structs.replace(trade, sequence=_sequence(last, place)))
    return found


def _trade(element: _BybitTrade, payload: str) -> Trade:
    side = text(element.S)
    return Trade(
        text(element.s),
        text(element.i),
        text(element.p),
        text(element.v),
        text(element.T),
        _SIDES.get(side, side),
        text(element.seq),
        payload,
        flagged(("BT", element.BT, TradeKind.BLOCK), ("RPI", element.RPI, TradeKind.RPI)),
    )


def market_of(trade: Trade) -> str:
    """The market that sent a trade: `L` is "unique for Perps & futures"; spot's ids are digits."""
    if "L" in members(Raw(trade.payload.encode())):
        return "bybit_linear"
    return "bybit" if trade.trade_id.isdigit() else ""


def _sequence(seq: str, place: int) -> str:
    # Text that is no number stays as it is. Silver rejects the trade and names it.
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 19):
        return seq
    return str(int(seq) * PLACES + min(place, PLACES - 1))


def subscribe(symbols: Sequence[str], number: int) -> str:
    """The subscribe message for the symbols' trades. One unknown symbol makes Bybit refuse all."""
    topics = [f"publicTrade.{symbol}" for symbol in symbols]
    return msgspec.json.encode({"req_id": str(number), "op": "subscribe", "args": topics}).decode()


def _rest_trade(raw: Raw) -> Trade:
    row = fields(raw)
    symbol, number, price, quantity, moment, side, seq = (
        text(row.get(name, ABSENT)) for name in ("symbol", "execId", "price", "size", "time", "side", "seq")
    )
    kind = flagged(
        ("isBlockTrade", row.get("isBlockTrade", ABSENT), TradeKind.BLOCK),
        ("isRPITrade", row.get("isRPITrade", ABSENT), TradeKind.RPI),
    )
    return Trade(symbol, number, price, quantity, moment, _SIDES.get(side, side), seq, token(raw), kind)


def _rest(category: str, page: int) -> Rest:
    def newest(symbol: str) -> str:
        return f"/v5/market/recent-trade?category={category}&symbol={symbol}&limit={page}"

    def request(symbol: str, _span: TradeSpan) -> str:
        return newest(symbol)

    def read(_symbol: str, answer: bytes) -> list[Trade]:
        message = fields(answer)
        if text(message.get("retCode", ABSENT)) != "0" or "result" not in message:
            raise RestError(f"Bybit: {answer[:200].decode(errors='replace')}")
        rows = elements(fields(message["result"]).get("list", Raw(b"[]")))
        trades = [_rest_trade(row) for row in reversed(rows)]
        whole = [trade for trade in trades if trade.sequence != trades[0].sequence] if len(trades) >= page else trades
        return _ordered(whole or trades)

    # 600 calls in 5 seconds from an IP. REST serves only the newest trades.
    return Rest("https://api.bybit.com", Rate(10, 1.0), Pages.NONE, request, newest, read, page=page)


def _market(code: str, category: str, page: int) -> Exchange:
    url = f"wss://stream.bybit.com/v5/public/{category}"
    # 500 connections in 5 minutes from an IP. The topics of a connection may have 21,000 characters.
    return Exchange(
        code,
        url,
        parse,
        subscribe,
        symbols_a_message=_TOPICS_A_MESSAGE,
        ping='{"op":"ping"}',
        connects=Rate(500, 300.0),
        ids_of=None,
        rest=_rest(category, page),
        title=f"Bybit {category}",
        market_of=market_of,
    )


EXCHANGES = (_market("bybit", "spot", 60), _market("bybit_linear", "linear", 1_000))
