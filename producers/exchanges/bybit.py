"""Bybit v5 public streams, spot and linear: topic `publicTrade.<symbol>`, several trades a message.

Wire format: bybit-exchange.github.io/docs/v5/websocket/public/trade. `S` is the taker's side. Trades are
ordered by (`T`, `seq`, place in the message): `seq` is shared by the trades of one match and linear ids are
UUIDs. The envelope's `sequence` is therefore seq * 10,000 + the place among the trades of that `seq` (a message
holds at most 1,024), which REST's list gives as well: there a match that the page's end cut in two is left out.

Kinds of trade (sources looked up 2026-11-28): `BT` says that it is a block trade, `RPI` that the maker's order was a
retail price improvement (the page above, and v5/market/recent-trade: `isBlockTrade`, `isRPITrade`). The page on klines
(v5/market/kline) does not say which of them count. A block trade is negotiated beside the order book, so candles leave
it out; an RPI order is matched in the book, so they count it.
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
_TOPICS_A_MESSAGE = 10  # the limit of spot; linear has none but a length
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
    """Trades, oldest first, their `sequence` still the exchange's `seq`, with their order keys."""
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
    # Text that is no counter goes on as it is: Silver names it as the reason.
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 19):
        return seq
    return str(int(seq) * PLACES + min(place, PLACES - 1))


def subscribe(symbols: Sequence[str], number: int) -> str:
    """The subscribe message of the symbols' trades; of one that is unknown, all are refused."""
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

    # 600 calls in 5 seconds an IP; only the newest trades are served.
    return Rest("https://api.bybit.com", Rate(10, 1.0), Pages.NONE, request, newest, read, page=page)


def _market(code: str, category: str, page: int) -> Exchange:
    url = f"wss://stream.bybit.com/v5/public/{category}"
    # 500 connections in 5 minutes an IP; the topics of one connection may be 21,000 characters long.
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
