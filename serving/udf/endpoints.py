"""The endpoints below `/udf/`.

Source: https://www.tradingview.com/charting-library-docs/latest/connecting_data/UDF. A market is
`EXCHANGE:SYMBOL`, such as `KRAKEN:BTCUSD`. Prices and volumes are the nearest doubles of the exact values, times are
seconds since the epoch (UTC).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from config.registry import Entry
from serving.errors import ApiError, contradictory, missing
from serving.market_data import tickers
from serving.market_data.amounts import decimals
from serving.market_data.candles import END_OF_TIME, Candles, Market
from serving.market_data.hot_reader import HotReader
from serving.market_data.intervals import Interval
from serving.market_data.markets import Markets
from serving.parameters import RequestParameters
from serving.rest.endpoints import json_response
from serving.rest.shared import Endpoint
from serving.udf.names import BY_NAME, DECIMALS, RESOLUTIONS, description, price_step, ticker

DEFAULT_EXCHANGE = "binance"
MOST_BARS = 20_000
_MOST_FOUND = 100
_FOUND = 30
_MOST_QUOTES = 100
_SHORTEST_MONTH = 28 * 86_400
_TYPE = "crypto"


class UdfApi:
    """The endpoints below `/udf/`, of all exchanges."""

    def __init__(self, reader: HotReader, candles: Candles, markets: Markets) -> None:
        self._reader = reader
        self._candles = candles
        self._markets = markets

    def endpoints(self) -> dict[str, Endpoint]:
        """The endpoints by path below `/udf/`."""
        endpoints: dict[str, Endpoint] = {
            "config": self.config,
            "symbols": self.symbols,
            "symbol_info": self.symbol_info,
            "search": self.search,
            "history": self.history,
            "quotes": self.quotes,
            "time": self.time,
        }
        return {path: _with_udf_errors(endpoint) for path, endpoint in endpoints.items()}

    async def config(self, request: Request) -> Response:
        """The capabilities of this data feed."""
        _read(request)
        exchanges = [{"value": name.upper(), "name": name, "desc": name} for name in self._markets.exchanges]
        return json_response(
            {
                "supports_search": True,
                "supports_group_request": False,
                "supports_marks": False,
                "supports_timescale_marks": False,
                "supports_time": True,
                "supported_resolutions": list(RESOLUTIONS),
                "exchanges": [{"value": "", "name": "All exchanges", "desc": ""}, *exchanges],
                "symbols_types": [{"name": "All types", "value": ""}, {"name": "Crypto", "value": _TYPE}],
            }
        )

    async def symbols(self, request: Request) -> Response:
        """A market by `symbol`."""
        market = self._market(_read(request, "symbol").text("symbol"))
        exchange, entry = market[0], self._entry(market)
        return json_response(
            {
                "name": entry.canonical,
                "ticker": ticker(exchange, entry),
                "description": description(exchange, entry),
                "type": _TYPE,
                "session": "24x7",
                "timezone": "Etc/UTC",
                "exchange": exchange.upper(),
                "listed_exchange": exchange.upper(),
                "format": "price",
                "currency_code": entry.quote,
                "has_intraday": True,
                "has_daily": True,
                "has_weekly_and_monthly": True,
                "supported_resolutions": list(RESOLUTIONS),
                "intraday_multipliers": [name for name in RESOLUTIONS if name.isdigit()],
                "daily_multipliers": [name[:-1] for name in RESOLUTIONS if name.endswith("D")],
                "weekly_multipliers": ["1"],
                "monthly_multipliers": ["1"],
                "visible_plots_set": "ohlcv",
                "volume_precision": DECIMALS if entry.lot is None else decimals(entry.lot),
                "data_status": "streaming",
                **dict(zip(("minmov", "pricescale"), price_step(entry), strict=True)),
            }
        )

    async def symbol_info(self, request: Request) -> Response:
        """All markets of an exchange (`group`), as a table."""
        group = _read(request, "group").text("group").lower()
        if group not in self._markets.exchanges:
            raise ApiError(-1130, "Unknown group: name an exchange of /udf/config.")
        listed = self._markets.listed(group)
        steps = [price_step(entry) for entry in listed]
        return json_response(
            {
                "symbol": [entry.canonical for entry in listed],
                "ticker": [ticker(group, entry) for entry in listed],
                "description": [description(group, entry) for entry in listed],
                "currency": [entry.quote for entry in listed],
                "base-currency": [entry.base for entry in listed],
                "minmovement": [step for step, _ in steps],
                "pricescale": [scale for _, scale in steps],
                "exchange-listed": group.upper(),
                "exchange-traded": group.upper(),
                "type": _TYPE,
                "timezone": "Etc/UTC",
                "session-regular": "24x7",
                "has-intraday": True,
                "has-daily": True,
                "has-weekly-and-monthly": True,
                "intraday-multipliers": [name for name in RESOLUTIONS if name.isdigit()],
                "visible-plots-set": "ohlcv",
            }
        )

    async def search(self, request: Request) -> Response:
        """Markets whose name, exchange or assets contain every word of `query`.

        Markets whose name begins with the last word come first, shorter names before longer ones.
        """
        parameters = _read(request, "query", "type", "exchange", "limit")
        words = (parameters.optional("query") or "").upper().replace(":", " ").split()
        wanted = (parameters.optional("exchange") or "").lower()
        if (parameters.optional("type") or _TYPE) != _TYPE:
            return json_response([])
        exchanges = [name for name in self._markets.exchanges if wanted in {"", name}]
        found = [
            (exchange, entry)
            for exchange in exchanges
            for entry in self._markets.listed(exchange)
            if all(word in f"{exchange.upper()} {entry.canonical} {entry.base}/{entry.quote}" for word in words)
        ]
        start = words[-1] if words else ""
        found.sort(
            key=lambda item: (not item[1].canonical.startswith(start), len(item[1].canonical), item[1].canonical)
        )
        return json_response(
            [
                {
                    "symbol": entry.canonical,
                    "full_name": ticker(exchange, entry),
                    "ticker": ticker(exchange, entry),
                    "description": description(exchange, entry),
                    "exchange": exchange.upper(),
                    "type": _TYPE,
                }
                for exchange, entry in found[: parameters.limit(_FOUND, _MOST_FOUND)]
            ]
        )

    async def history(self, request: Request) -> Response:
        """Bars that open in [`from`, `to`), or the last `countback` before `to`, the open bar included."""
        parameters = _read(request, "symbol", "resolution", "from", "to", "countback")
        market = self._market(parameters.text("symbol"))
        name = parameters.text("resolution")
        if name not in BY_NAME:
            raise ApiError(-1120, f"Unknown resolution: it must be one of {', '.join(RESOLUTIONS)}.")
        interval, since, until = BY_NAME[name], _second(parameters, "from"), _second(parameters, "to")
        if since > until:
            raise contradictory()
        count = parameters.number("countback")
        if count is None and (until - since) // (interval.seconds or _SHORTEST_MONTH) > MOST_BARS:
            raise ApiError(-1130, f"The time has room for more than {MOST_BARS:,} bars: shorten it, or give countback.")
        start = since * 1000 if count is None else None
        limit = MOST_BARS + 1 if count is None else min(max(count, 1), MOST_BARS)
        rows = await self._candles.rows(interval, [market], limit, start, until * 1000 - 1, with_state=False)
        if not rows:
            return json_response({"s": "no_data", **await self._next(interval, market, since)})
        return json_response(
            {
                "s": "ok",
                "t": [row["opened"] for row in rows],
                **{name[0]: [float(row[name]) for row in rows] for name in ("open", "high", "low", "close", "volume")},
            }
        )

    async def quotes(self, request: Request) -> Response:
        """Last price and 24 hours of `symbols`, separated by commas."""
        names = list(dict.fromkeys(_read(request, "symbols").text("symbols").split(",")))
        if len(names) > _MOST_QUOTES:
            raise ApiError(-1130, f"More than {_MOST_QUOTES} symbols.")
        known: dict[str, Market] = {}
        for name in names:
            try:
                known[name] = self._market(name)
            except ApiError:
                continue  # `_quote` returns an error for this name alone.
        exchanges = sorted({exchange for exchange, _ in known.values()})
        rows = await tickers.tickers(self._reader, exchanges) if exchanges else []
        by_market = {(row["exchange"], row["symbol"]): row for row in rows}
        return json_response({"s": "ok", "d": [self._quote(name, known.get(name), by_market) for name in names]})

    async def time(self, request: Request) -> Response:
        """This machine's clock, seconds."""
        _read(request)
        return PlainTextResponse(str(int(time.time())))

    async def _next(self, interval: Interval, market: Market, since: int) -> dict[str, int]:
        """`nextTime`: the newest bar before a time; {} if there is none."""
        rows = (
            await self._candles.rows(interval, [market], 1, None, since * 1000 - 1, with_state=False) if since else []
        )
        return {"nextTime": rows[0]["opened"]} if rows else {}

    def _quote(self, name: str, market: Market | None, by_market: dict[Market, dict[str, Any]]) -> dict[str, Any]:
        row = by_market.get(market) if market else None
        if market is None or row is None:
            return {"s": "error", "n": name, "v": {}}
        entry = self._entry(market)
        amounts = {
            "lp": "lastPrice",
            "ch": "priceChange",
            "chp": "priceChangePercent",
            "open_price": "openPrice",
            "high_price": "highPrice",
            "low_price": "lowPrice",
            "volume": "volume",
        }
        names = {"short_name": entry.canonical, "original_name": ticker(market[0], entry)}
        names |= {"exchange": market[0].upper(), "description": description(market[0], entry)}
        return {"s": "ok", "n": name, "v": names | {short: float(row[long]) for short, long in amounts.items()}}

    def _market(self, name: str) -> Market:
        exchange, _, symbol = name.rpartition(":")
        market = (exchange.lower() or DEFAULT_EXCHANGE, symbol.upper())
        if market[1] not in self._markets.names(market[0]):
            raise ApiError(-1121, "Unknown symbol: markets are EXCHANGE:SYMBOL, as /udf/search lists them.", 404)
        return market

    def _entry(self, market: Market) -> Entry:
        return self._markets.entry(*market)


def _with_udf_errors(endpoint: Endpoint) -> Endpoint:
    """The endpoint with errors in UDF's format."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ApiError as error:
            return json_response({"s": "error", "errmsg": error.message}, error.status)

    return answer


def _read(request: Request, *known: str) -> RequestParameters:
    """The parameters of a request. Charts send a parameter without a value for "any"; it is left out."""
    return RequestParameters(_with_values(request.query_params.multi_items()), frozenset(known))


def _with_values(items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in items if value]


def _second(parameters: RequestParameters, name: str) -> int:
    """A time, s. Charts ask for negative times, such as -100, at the beginning of time; they become 0."""
    text = parameters.text(name)
    if text.startswith("-") and text[1:].isascii() and text[1:].isdigit():
        return 0
    value = parameters.number(name)
    if value is None:
        raise missing(name)
    return min(value, END_OF_TIME)
