"""Answers REST requests as each exchange does, from the simulator's trades."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

from producers.exchanges.model import Trade
from producers.simulator.protocols.model import dumps
from producers.timestamps import event_time_us

Query = Mapping[str, list[str]]
# Returns the trades of a symbol, oldest first.
Owned = Callable[[str], Sequence[Trade]]
_BINANCE_PAGE, _OKX_PAGE, _PAGE = 500, 100, 1_000
_SECONDS = 1_000_000_000_000


def answer(code: str, target: str, owned: Owned, headers: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The body of the answer to a GET of `target` (path and query); None if the exchange does not have the path."""
    body = _answer(code, target, owned)
    if body is not None and headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND":
        body = re.sub(r'"time":\d{13}\b', r"\g<0>000", body)
    return body


def _answer(code: str, target: str, owned: Owned) -> str | None:
    url = urlsplit(target)
    query = parse_qs(url.query)
    for exchange, path, make in (
        ("binance", "/historicalTrades", _binance),
        ("binance", "/trades", _binance_newest),
        ("kraken", "/0/public/Trades", _kraken),
        ("bybit", "/v5/market/recent-trade", _bybit),
        ("okx", "/api/v5/market/history-trades", _okx),
    ):
        if code.startswith(exchange) and url.path.endswith(path):
            return make(query, owned)
    parts = url.path.strip("/").split("/")
    if code == "coinbase" and len(parts) == 3 and (parts[0], parts[2]) == ("products", "trades"):
        return _coinbase(parts[1], query, owned)
    return None


def _binance(query: Query, owned: Owned) -> str:
    first, limit = _number(query, "fromId", 0), min(_number(query, "limit", _BINANCE_PAGE), _PAGE)
    return _binance_list([trade for trade in owned(query["symbol"][0]) if int(trade.trade_id) >= first][:limit])


def _binance_newest(query: Query, owned: Owned) -> str:
    return _binance_list(owned(query["symbol"][0])[-min(_number(query, "limit", _BINANCE_PAGE), _PAGE) :])


def _binance_list(trades: Sequence[Trade]) -> str:
    return dumps(
        [
            {
                "id": int(trade.trade_id),
                "price": trade.price,
                "qty": trade.quantity,
                "quoteQty": "0",
                "time": int(trade.timestamp),
                "isBuyerMaker": trade.side == "SELL",
                "isBestMatch": True,
            }
            for trade in trades
        ]
    )


def _kraken(query: Query, owned: Owned) -> str:
    pair, since_ns = query["pair"][0], _number(query, "since", 0)
    # Kraken accepts s as well as ns, and the long names of older assets (`XXBTZUSD`).
    since_ns *= 1_000_000_000 if since_ns < _SECONDS else 1
    short = re.sub(r"^X(\w{3})Z(\w{3})$", r"\1\2", pair)
    symbol = f"{short[:3].replace('XBT', 'BTC').replace('XDG', 'DOGE')}/{short[3:]}"
    rows: list[str] = []
    last, most = since_ns, _number(query, "count", _PAGE)
    for trade in owned(symbol) if since_ns else owned(symbol)[-most:]:
        time_us = event_time_us(trade.timestamp) or 0
        if time_us * 1_000 > since_ns and len(rows) < most:
            # In s, with all digits of the µs.
            moment = f"{time_us // 1_000_000}.{time_us % 1_000_000:06d}"
            side = trade.side[0].lower()
            rows.append(f'["{trade.price}","{trade.quantity}",{moment},"{side}","m","",{trade.trade_id}]')
            last = time_us * 1_000
    return f'{{"error":[],"result":{{"{pair}":[{",".join(rows)}],"last":"{last}"}}}}'


def _bybit(query: Query, owned: Owned) -> str:
    category, symbol = query["category"][0], query["symbol"][0]
    limit = min(_number(query, "limit", 500), 60 if category == "spot" else _PAGE)
    rows = [
        {
            "execId": trade.trade_id,
            "symbol": trade.symbol,
            "price": trade.price,
            "size": trade.quantity,
            "side": trade.side.capitalize(),
            "time": trade.timestamp,
            "isBlockTrade": False,
            "seq": str(int(trade.sequence) // 10_000),
        }
        for trade in reversed(owned(symbol)[-limit:])
    ]
    return dumps({"retCode": 0, "retMsg": "OK", "result": {"category": category, "list": rows}, "retExtInfo": {}})


def _okx(query: Query, owned: Owned) -> str:
    before = _number(query, "after", 1 << 62)
    older = [trade for trade in owned(query["instId"][0]) if int(trade.trade_id) < before]
    rows = [
        {
            "instId": trade.symbol,
            "side": trade.side.lower(),
            "sz": trade.quantity,
            "px": trade.price,
            "tradeId": trade.trade_id,
            "ts": trade.timestamp,
        }
        for trade in reversed(older[-min(_number(query, "limit", _OKX_PAGE), _OKX_PAGE) :])
    ]
    return dumps({"code": "0", "msg": "", "data": rows})


def _coinbase(product: str, query: Query, owned: Owned) -> str:
    before = _number(query, "after", 1 << 62)
    older = [trade for trade in owned(product) if int(trade.trade_id) < before]
    rows = [
        {
            "trade_id": int(trade.trade_id),
            # The maker's side.
            "side": "sell" if trade.side == "BUY" else "buy",
            "size": trade.quantity,
            "price": trade.price,
            "time": trade.timestamp,
        }
        for trade in reversed(older[-min(_number(query, "limit", _PAGE), _PAGE) :])
    ]
    return dumps(rows)


def _number(query: Query, name: str, default: int) -> int:
    return int(query[name][0]) if name in query else default
