"""Market lists and REST trades as exchanges answer them, made by hand, on a local port: real ccxt reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import ccxt
import orjson

from tests.http_server import serving

Query = Mapping[str, str]
Answer = Callable[[Query], object]


def binance_spot(symbol: str, base: str, quote: str, *, status: str = "TRADING", **filters: str) -> dict[str, Any]:
    return {
        "symbol": symbol, "status": status, "baseAsset": base, "quoteAsset": quote, "baseAssetPrecision": 8,
        "quotePrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": filters.get("tick", "0.01000000"),
             "maxPrice": filters.get("price_max", "1000000.00000000"), "tickSize": filters.get("tick", "0.01000000")},
            {"filterType": "LOT_SIZE", "minQty": filters.get("lot", "0.00001000"),
             "maxQty": filters.get("quantity_max", "9000.00000000"), "stepSize": filters.get("lot", "0.00001000")},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
        ],
    }  # fmt: skip


def binance(*symbols: dict[str, Any]) -> object:
    return {"timezone": "UTC", "serverTime": 1, "rateLimits": [], "exchangeFilters": [], "symbols": list(symbols)}


def kraken_pair(altname: str, wsname: str, base: str, quote: str, decimals: int) -> dict[str, Any]:
    return {
        "altname": altname, "wsname": wsname, "aclass_base": "currency", "base": base, "aclass_quote": "currency",
        "quote": quote, "lot": "unit", "cost_decimals": 5, "pair_decimals": decimals, "lot_decimals": 8,
        "lot_multiplier": 1, "leverage_buy": [2], "leverage_sell": [2], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40, "ordermin": "0.00005", "costmin": "0.5",
        "tick_size": f"{10.0**-decimals:.{decimals}f}", "status": "online",
    }  # fmt: skip


def kraken_asset(name: str, decimals: int = 10) -> dict[str, Any]:
    return {
        "aclass": "currency",
        "altname": name,
        "decimals": decimals,
        "display_decimals": 5,
        "status": "enabled",
    }


KRAKEN = {
    "/0/public/AssetPairs": {
        "error": [],
        "result": {
            "XXBTZUSD": kraken_pair("XBTUSD", "XBT/USD", "XXBT", "ZUSD", 1),
            "XBTUSDT": kraken_pair("XBTUSDT", "XBT/USDT", "XXBT", "USDT", 1),
            "XDGUSD": kraken_pair("XDGUSD", "XDG/USD", "XXDG", "ZUSD", 7),
        },
    },
    "/0/public/Assets": {
        "error": [],
        "result": {
            "XXBT": kraken_asset("XBT"),
            "ZUSD": kraken_asset("USD", 4),
            "USDT": kraken_asset("USDT", 8),
            "XXDG": kraken_asset("XDG", 8),
        },
    },
}


def bybit_linear(symbol: str, base: str, tick: str, lot: str) -> dict[str, Any]:
    return {
        "symbol": symbol, "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": base,
        "quoteCoin": "USDT", "launchTime": "1585526400000", "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": "2", "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999.80", "tickSize": tick},
        "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": lot, "qtyStep": lot},
        "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": "USDT",
    }  # fmt: skip


def bybit(query: Query) -> object:
    markets = {
        "linear": [bybit_linear(f"{base}USDT", base, "0.10", "0.001") for base in ("BTC", "ETH", "SOL", "DOGE")],
    }
    found = markets.get(query.get("category", ""), [])
    result = {"category": query.get("category"), "list": found, "nextPageCursor": ""}
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 1}


def okx_instrument(kind: str, name: str, **more: str) -> dict[str, Any]:
    base, quote = name.split("-")[:2]
    return {
        "instType": kind, "instId": name, "uly": "" if kind == "SPOT" else f"{base}-{quote}", "instFamily": "",
        "baseCcy": base if kind == "SPOT" else "", "quoteCcy": quote if kind == "SPOT" else "", "settleCcy": "",
        "ctVal": "", "ctMult": "", "ctValCcy": "", "optType": "", "stk": "", "listTime": "1606468572000",
        "expTime": "", "lever": "10", "tickSz": "0.1", "lotSz": "0.00000001", "minSz": "0.00001", "ctType": "",
        "alias": "", "state": "live", "maxLmtSz": "9999999999", "maxMktSz": "", **more,
    }  # fmt: skip


def save_kraken(path: Path) -> None:
    """ccxt's reading of the list, as `--markets` takes it."""
    with answering(KRAKEN) as rest:
        asked = ccxt.kraken()
        asked.session.trust_env = False
        asked.urls["api"] = dict.fromkeys(asked.urls["api"], rest)
        path.write_text(json.dumps(asked.load_markets()))


OKX_INSTRUMENTS = {
    "SPOT": [okx_instrument("SPOT", "BTC-USDT")],
    "SWAP": [
        okx_instrument("SWAP", "UNI-USD-SWAP", ctType="inverse", settleCcy="UNI", ctVal="10", ctValCcy="USD", lotSz="1")
    ],
    "FUTURES": [
        okx_instrument("FUTURES", "BTC-USD-220527", ctType="inverse", settleCcy="BTC", ctVal="100", ctValCcy="USD",
                       lotSz="1", expTime="1653638400000")
    ],
}  # fmt: skip


def okx(query: Query) -> object:
    return {"code": "0", "msg": "", "data": OKX_INSTRUMENTS.get(query.get("instType", ""), [])}


@contextmanager
def answering(answers: Mapping[str, object | Answer]) -> Iterator[str]:
    """URL of a server that answers each path with JSON; a function is given the query, bytes go as they are."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            url = urlsplit(self.path)
            known = answers.get(url.path)
            answer = known({name: one[0] for name, one in parse_qs(url.query).items()}) if callable(known) else known
            body = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"
