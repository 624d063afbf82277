"""Invariant: whatever else a stream carries between its trades, exactly the trades become trades.

Between the frames of every recording come its own other messages, those of all other venues, and the exchange's
documented acknowledgements, heartbeats, errors, book updates and tickers, filled with the digits of recorded trades.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.envelope import envelopes
from producers.exchanges import exchange
from producers.exchanges.model import Control, Parsed, Trade, Trades, Unrecognised
from producers.recording import Recording
from tests.producers.conftest import RECORDED, Recorded, each_recording

LONGEST = 1 << 25
#: Of a recording with tens of thousands of frames the property draws from the first so many.
DRAWN_FROM = 4_000
VENUES = {"binance": "binance", "kraken": "kraken", "bybit": "bybit", "okx": "okx", "coinbase": "coinbase"}


@functools.cache
def frames(recorded: Recorded) -> Sequence[bytes]:
    with Recording(recorded.path, longest_message=LONGEST) as recording:
        return tuple(recording)


def venue(code: str) -> str:
    return code.partition("_")[0]


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def binance(trade: Trade) -> list[tuple[str, object]]:
    symbol, low, price, quantity, moment = (
        trade.symbol, trade.symbol.lower(), trade.price, trade.quantity, int(trade.timestamp)
    )  # fmt: skip
    book = [[price, quantity]]
    others: list[tuple[str, dict[str, object]]] = [
        ("aggTrade", {"a": int(trade.trade_id), "p": price, "q": quantity, "f": 1, "l": 2, "T": moment, "m": True}),
        ("kline", {"k": {"t": moment, "s": symbol, "o": price, "c": price, "v": quantity, "n": 1, "x": False}}),
        ("24hrTicker", {"p": price, "c": price, "Q": quantity, "q": quantity, "n": 3, "T": moment}),
        ("24hrMiniTicker", {"c": price, "v": quantity, "q": quantity}),
        ("depthUpdate", {"U": 1, "u": 2, "b": book, "a": book, "T": moment}),
        ("bookTicker", {"u": 1, "b": price, "B": quantity, "a": price, "A": quantity, "T": moment}),
        ("markPriceUpdate", {"p": price, "i": price, "T": moment}),
        ("forceOrder", {"o": {"s": symbol, "p": price, "q": quantity, "T": moment, "S": "SELL"}}),
        ("avgPrice", {"i": "5m", "w": price, "T": moment}),
    ]
    events = [(kind, {"e": kind, "E": moment, "s": symbol, **fields}) for kind, fields in others]
    spot = {"u": 1, "s": symbol, "b": price, "B": quantity, "a": price, "A": quantity}
    depth = {"lastUpdateId": int(trade.trade_id), "bids": book, "asks": book}
    return [
        *events,
        *((kind, {"stream": f"{low}@{kind}", "data": event}) for kind, event in events),
        ("bookTicker", spot),
        ("bookTicker", {"stream": f"{low}@bookTicker", "data": spot}),
        ("depth", {"stream": f"{low}@depth5", "data": depth}),
        ("24hrTicker", [event for kind, event in events if kind == "24hrTicker"] * 2),
        ("ack", {"result": None, "id": 1}),
        ("ack", {"result": [f"{low}@trade"], "id": 3}),
        ("error", {"error": {"code": 2, "msg": f"Invalid request: trade {symbol}"}, "id": 1}),
        ("error", {"code": 1, "msg": "trade"}),
    ]


def kraken(trade: Trade) -> list[tuple[str, object]]:
    symbol, price, quantity, moment = trade.symbol, trade.price, trade.quantity, trade.timestamp
    level = [{"price": price, "qty": quantity}]
    order = {"order_id": "O1", "limit_price": price, "order_qty": quantity, "timestamp": moment}
    channels: list[tuple[str, dict[str, object]]] = [
        ("ticker", {"bid": price, "last": price, "volume": quantity}),
        ("book", {"bids": level, "asks": level, "checksum": 1, "timestamp": moment}),
        ("ohlc", {"open": price, "close": price, "volume": quantity, "trades": 7, "timestamp": moment}),
        ("level3", {"bids": [order], "asks": [order]}),
    ]
    reply = {"method": "subscribe", "success": True, "time_in": moment, "time_out": moment}
    return [
        *(
            (name, {"channel": name, "type": kind, "data": [{"symbol": symbol, **fields}]})
            for name, fields in channels
            for kind in ("snapshot", "update")
        ),
        ("instrument", {"channel": "instrument", "type": "update", "data": {"pairs": [{"symbol": symbol}]}}),
        ("status", {"channel": "status", "type": "update", "data": [{"system": "online", "version": "2.0.0"}]}),
        ("heartbeat", {"channel": "heartbeat"}),
        ("ack", {**reply, "result": {"channel": "trade", "snapshot": True, "symbol": symbol}}),
        ("ack", {**reply, "method": "unsubscribe", "result": {"channel": "trade", "symbol": symbol}}),
        ("pong", {"method": "pong", "time_in": moment, "time_out": moment}),
        ("error", {**reply, "success": False, "error": f"Already subscribed to trade {symbol}"}),
        ("no_trades", {"channel": "trade", "type": "update", "data": []}),
    ]


def bybit(trade: Trade) -> list[tuple[str, object]]:
    symbol, price, quantity, moment = trade.symbol, trade.price, trade.quantity, int(trade.timestamp)
    level = [[price, quantity]]
    liquidation = {"T": moment, "s": symbol, "S": "Sell", "v": quantity, "p": price}
    topics: list[tuple[str, str, object]] = [
        ("orderbook", f"orderbook.50.{symbol}", {"s": symbol, "b": level, "a": level, "u": 1, "seq": 2}),
        ("tickers", f"tickers.{symbol}", {"symbol": symbol, "lastPrice": price, "volume24h": quantity}),
        ("kline", f"kline.1.{symbol}", [{"start": moment, "open": price, "close": price, "volume": quantity}]),
        ("allLiquidation", f"allLiquidation.{symbol}", [liquidation]),
        ("liquidation", f"liquidation.{symbol}", liquidation),
        ("no_trades", f"publicTrade.{symbol}", []),
    ]
    reply = {"conn_id": "c", "req_id": "r", "ret_msg": f"publicTrade.{symbol}"}
    return [
        *((kind, {"topic": topic, "type": "snapshot", "ts": moment, "data": data}) for kind, topic, data in topics),
        ("ack", {"success": True, "op": "subscribe", **reply}),
        ("error", {"success": False, "op": "subscribe", **reply}),
        ("pong", {"success": True, "op": "ping", **reply, "ret_msg": "pong"}),
        ("pong", {"op": "pong", "args": [str(moment)], "conn_id": "c"}),
    ]


def okx(trade: Trade) -> list[tuple[str, object]]:
    symbol, price, quantity, moment = trade.symbol, trade.price, trade.quantity, trade.timestamp
    level = [[price, quantity, "0", "1"]]
    like_a_trade = {
        "instId": symbol,
        "tradeId": trade.trade_id,
        "px": price,
        "sz": quantity,
        "side": "buy",
        "ts": moment,
    }
    channels: list[tuple[str, object]] = [
        ("tickers", {"instId": symbol, "last": price, "lastSz": quantity, "ts": moment}),
        ("books", {"asks": level, "bids": level, "ts": moment, "checksum": 1}),
        ("books5", {"asks": level, "bids": level, "ts": moment}),
        ("bbo-tbt", {"asks": level, "bids": level, "ts": moment}),
        ("candle1m", [moment, price, price, price, price, quantity, "1", "1", "0"]),
        ("mark-price", {"instId": symbol, "markPx": price, "ts": moment}),
        ("option-trades", like_a_trade),
        ("public-block-trades", like_a_trade),
        ("liquidation-orders", {"instId": symbol, "details": [{"side": "buy", "sz": quantity, "ts": moment}]}),
    ]
    trades = {"channel": "trades", "instId": symbol}
    return [
        *((name, {"arg": {"channel": name, "instId": symbol}, "data": [data]}) for name, data in channels),
        ("no_trades", {"arg": trades, "data": []}),
        ("ack", {"event": "subscribe", "arg": trades, "connId": "c"}),
        ("ack", {"event": "unsubscribe", "arg": trades, "connId": "c"}),
        ("error", {"event": "error", "code": "60018", "msg": "Wrong trades", "arg": trades, "connId": "c"}),
        ("status", {"event": "notice", "code": "64008", "msg": "trades", "connId": "c"}),
        ("status", {"event": "channel-conn-count", "channel": "trades", "connCount": "1", "connId": "c"}),
    ]


def coinbase(trade: Trade) -> list[tuple[str, object]]:
    symbol, price, quantity, moment = trade.symbol, trade.price, trade.quantity, trade.timestamp
    ticker = {"type": "ticker", "product_id": symbol, "price": price, "volume_24_h": quantity}
    level = {"side": "bid", "event_time": moment, "price_level": price, "new_quantity": quantity}
    channels: list[tuple[str, dict[str, object]]] = [
        ("ticker", {"type": "update", "tickers": [ticker]}),
        ("ticker_batch", {"type": "update", "tickers": [ticker]}),
        ("l2_data", {"type": "update", "product_id": symbol, "updates": [level]}),
        ("candles", {"type": "update", "candles": [{"product_id": symbol, "open": price, "volume": quantity}]}),
        ("status", {"type": "snapshot", "products": [{"id": symbol, "status": "online"}]}),
        ("heartbeats", {"current_time": moment, "heartbeat_counter": 7}),
        ("subscriptions", {"subscriptions": {"market_trades": [symbol]}}),
    ]
    kinds = {"heartbeats": "heartbeat", "subscriptions": "ack"}
    head = {"client_id": "", "timestamp": moment, "sequence_num": 1}
    return [
        *((kinds.get(name, name), {"channel": name, **head, "events": [event]}) for name, event in channels),
        ("no_trades", {"channel": "market_trades", **head, "events": [{"type": "update", "trades": []}]}),
        ("no_trades", {"channel": "market_trades", **head, "events": []}),
        ("error", {"type": "error", "message": f"market_trades {symbol} {price}"}),
    ]


OTHERS: dict[str, Callable[[Trade], list[tuple[str, object]]]] = {
    "binance": binance, "kraken": kraken, "bybit": bybit, "okx": okx, "coinbase": coinbase,
}  # fmt: skip


def trades_of(parsed: Parsed) -> list[Trade]:
    return parsed.records if isinstance(parsed, Trades) else []


def check(code: str, frame: bytes, parsed: Parsed) -> int:
    """How many messages of the frame would be published; nothing that is no trade has a trade's fields."""
    messages = envelopes(code, frame, parsed, 0)
    for message in messages if isinstance(parsed, Unrecognised) else ():
        assert not any((message.symbol, message.trade_id, message.price, message.quantity, message.side))
        assert message.payload.encode() == frame
    assert len(messages) == (0 if isinstance(parsed, Control) else max(len(trades_of(parsed)), 1))
    return len(messages)


@each_recording
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large])
def test_between_any_other_messages_exactly_the_trades_are_trades(recorded: Recorded, data: st.DataObject) -> None:
    parse = exchange(recorded.code).parse
    own = frames(recorded)[:DRAWN_FROM]
    alone = {frame: trades_of(parse(frame)) for frame in own}
    sample = next(trade for records in alone.values() for trade in records)
    foreign = [one for one in RECORDED if venue(one.code) != venue(recorded.code)]
    stream: list[tuple[str, bytes]] = []
    for _ in range(data.draw(st.integers(1, 12), "frames")):
        whose = data.draw(st.sampled_from(["own", "other", "foreign"]), "whose")
        if whose == "own":
            stream.append(("", data.draw(st.sampled_from(own))))
        elif whose == "other":
            records = alone[data.draw(st.sampled_from(own))]
            kind, message = data.draw(st.sampled_from(OTHERS[venue(recorded.code)](records[0] if records else sample)))
            stream.append((kind, dumps(message)))
        else:
            one = data.draw(st.sampled_from(foreign))
            stream.append(("foreign", data.draw(st.sampled_from(frames(one)[:DRAWN_FROM]))))
    got: list[Trade] = []
    for kind, frame in stream:
        parsed = parse(frame)
        check(recorded.code, frame, parsed)
        got += trades_of(parsed)
        if kind == "foreign":
            assert isinstance(parsed, Control | Unrecognised), frame
        elif kind:
            assert parsed == Control(kind), frame
    assert got == [trade for kind, frame in stream if not kind for trade in alone[frame]]


@each_recording
def test_every_other_message_the_exchange_documents_is_known_for_trades_of_every_symbol(recorded: Recorded) -> None:
    parse = exchange(recorded.code).parse
    seen: dict[str, Trade] = {}
    for frame in frames(recorded):
        for trade in trades_of(parse(frame)):
            seen.setdefault(trade.symbol, trade)
    for trade in seen.values():
        for kind, message in OTHERS[venue(recorded.code)](trade):
            frame = dumps(message)
            assert parse(frame) == Control(kind), frame
            assert check(recorded.code, frame, parse(frame)) == 0


@pytest.mark.parametrize("code", VENUES)
def test_no_frame_of_any_other_venue_s_recording_is_a_trade(code: str) -> None:
    if not RECORDED:
        pytest.skip("no recordings in ../shared/data")
    parse = exchange(code).parse
    fooled = [
        frame
        for recorded in RECORDED
        if venue(recorded.code) != code
        for frame in frames(recorded)
        if isinstance(parse(frame), Trades)
    ]
    assert fooled == []


@each_recording
def test_a_recording_s_frames_are_trades_or_known_and_nothing_is_published_of_the_latter(recorded: Recorded) -> None:
    summary = json.loads((recorded.truth / "summary.json").read_text())[recorded.name]
    parse = exchange(recorded.code).parse
    published = 0
    for frame in frames(recorded):
        parsed = parse(frame)
        assert not isinstance(parsed, Unrecognised), frame
        published += check(recorded.code, frame, parsed)
    assert published == summary["trade_records"]
