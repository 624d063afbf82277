"""Turns a ccxt trade into a `Trade`. Kind and matches come from the exchange's own element. Pure.

ccxt's unified trades have no kind and no matches (docs.ccxt.com, "Public Trades"), but keep the exchange's element as
`info`. If a ccxt class extends the class of an exchange that we have a parser for, its elements are read in the same
way as by that parser.

Sums of matches (checked in ccxt on 2026-11-28): `watchTrades` of the okx classes uses the channel `trades`, whose
`count` is read here; ccxt has to log in for `trades-all`. `fetchTrades` of the binance classes requests aggregated
trades with ids of their own, unless `fetchTradesMethod` names the endpoint of single trades.
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
# Families whose `fetchTrades` lists sums of matches by default.
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
    """The exchange whose ccxt class `venue` extends; "" if none of ours."""
    names = [base.__name__ for base in type(venue).__mro__]
    return next((name for name in _FAMILIES if name in names), "")


def kind_and_matches(family: str, info: Any, price: str, quantity: str) -> tuple[str, str]:
    """Kind and number of matches of a trade, as in `producers.exchanges.model.Trade`."""
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
    """Turn ccxt's trade into a `Trade`. If `payload` is None, the element that ccxt kept is encoded as payload."""
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
        *kind_and_matches(family, info, price, quantity),
    )


def single_match_parameters(market: Mapping[str, Any]) -> dict[str, str]:
    """Parameters that make `fetchTrades` of a `SUMMING` class list a market's newest single matches."""
    place = "fapiPublic" if market.get("linear") else "dapiPublic" if market.get("inverse") else "public"
    return {"fetchTradesMethod": f"{place}GetTrades"}
