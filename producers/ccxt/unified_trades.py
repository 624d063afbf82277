"""Turns a ccxt trade into one of ours, with the kind and the matches that only the exchange's element has (pure).

ccxt's unified trades have neither (docs.ccxt.com, "Public Trades"), but keep the exchange's element as `info`. A class
that is built on that of an exchange which our parsers know is read as they read it.

Sums of matches (looked up in ccxt 2026-11-28): `watchTrades` of the okx classes is the channel `trades`, whose `count`
is read here, since ccxt logs in for `trades-all`. `fetchTrades` of the binance classes asks for aggregated trades,
numbered otherwise than the stream's, unless `fetchTradesMethod` names the endpoint of single ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from producers.exchanges import binance, okx
from producers.exchanges.model import PLACEHOLDER, Trade, is_placeholder
from schemas.kinds import TradeKind

_SIDES = {"buy": "BUY", "sell": "SELL"}
_FAMILIES = ("binance", "bybit", "okx")
#: Families whose `fetchTrades` lists sums of matches by itself.
SUMMING = frozenset(("binance",))
_FLAGS = {
    "binance": {"isRPITrade": TradeKind.RPI},
    "bybit": {
        "BT": TradeKind.BLOCK,
        "isBlockTrade": TradeKind.BLOCK,
        "RPI": TradeKind.RPI,
        "isRPITrade": TradeKind.RPI,
    },
}


def family_of(venue: Any) -> str:
    """The exchange whose class of ccxt this one is built on; "" where our parsers do not know it."""
    names = [base.__name__ for base in type(venue).__mro__]
    return next((name for name in _FAMILIES if name in names), "")


def told(family: str, info: Any, price: str, quantity: str) -> tuple[str, str]:
    """Kind and number of matches of a trade, as `producers.exchanges.model.Trade` has them."""
    if not isinstance(info, Mapping) or not family:
        return "", ""
    kind = next((flag.value for name, flag in _FLAGS.get(family, {}).items() if info.get(name) is True), "")
    if family == "binance":
        kind = kind or binance.kind_of(str(info.get("X") or ""))
        if kind == binance.NONE and is_placeholder(price, quantity):
            kind = PLACEHOLDER
    if family == "okx":
        count = str(info.get("count") or "")
        return okx.kind_of(str(info.get("source") or "")), "" if count == "1" else count
    return kind, ""


def trade_of(family: str, trade: Mapping[str, Any], payload: str | None) -> Trade:
    """ccxt's trade as ours; `payload` None: what ccxt kept of it, printed again."""
    side = trade.get("side") or ""
    number, price, quantity, moment = (
        "" if value is None else str(value)
        for value in (trade.get(name) for name in ("id", "price", "amount", "timestamp"))
    )
    info = trade.get("info")
    return Trade(
        str(trade.get("symbol") or ""),
        number,
        price,
        quantity,
        moment,
        _SIDES.get(side, side),
        "",
        json.dumps(info, separators=(",", ":"), default=str) if payload is None else payload,
        *told(family, info, price, quantity),
    )


def singly(market: Mapping[str, Any]) -> dict[str, str]:
    """Parameters with which `fetchTrades` of a `SUMMING` class lists the newest single matches of a market."""
    place = "fapiPublic" if market.get("linear") else "dapiPublic" if market.get("inverse") else "public"
    return {"fetchTradesMethod": f"{place}GetTrades"}
