"""The endpoints of `/api/v3` and `/fapi/v1`: parameters in, JSON out.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api and …/docs/derivatives/usds-margined-futures.
"""

from __future__ import annotations

import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from config.valid_times import END_US
from serving.errors import ApiError, contradictory, invalid_time_unit
from serving.market_data import tickers
from serving.market_data.amounts import amount
from serving.market_data.candles import Candles, kline
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.markets import Markets
from serving.market_data.series import funding_rates, venue_klines
from serving.parameters import RequestParameters
from serving.rest.shared import TIME_UNIT, Endpoint, shared
from serving.rest.venue import Venue

_DEFAULT_ROWS = 500
_MOST_TRADES = 1_000
_DEFAULT_RATES, _MOST_RATES = 100, 1_000
# Parameters of `/exchangeInfo` that choose markets, and their values.
_SPOT_FILTERS = ("permissions", "showPermissionSets", "symbolStatus")
_STATUSES = frozenset({"TRADING", "HALT", "BREAK"})
_BOOLEANS = frozenset({"true", "false"})
_NOT_IN_MINI = frozenset({"exchange", "priceChange", "priceChangePercent", "weightedAvgPrice"})
# An answer may be so old: bots ask for the prices of all markets all the time.
_KEPT_S = 0.5


def json_response(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")


class RestApi:
    """The endpoints of one exchange."""

    def __init__(self, venue: Venue, reader: HotReader, candles: Candles, markets: Markets) -> None:
        self._venue = venue
        self._reader = reader
        self._candles = candles
        self._markets = markets

    def endpoints(self) -> dict[str, Endpoint]:
        """The endpoints by path below that of the version."""
        of_both: dict[str, Endpoint] = {
            "ping": self.ping,
            "time": self.time,
            "exchangeInfo": self.exchange_info,
            "klines": shared(self.klines, kept_s=_KEPT_S),
            "ticker/price": shared(self.price, kept_s=_KEPT_S),
            "ticker/24hr": shared(self.day, kept_s=_KEPT_S),
            "trades": shared(self.trades),
            "aggTrades": shared(self.aggregate_trades),
        }
        if self._venue.is_futures:
            return of_both | {"fundingRate": shared(self.funding_rate)}
        return of_both | {"uiKlines": of_both["klines"]}

    @property
    def _names(self) -> frozenset[str]:
        return self._markets.names(self._venue.exchange)

    async def ping(self, request: Request) -> Response:
        """`/ping`."""
        _read(request)
        return json_response({})

    async def time(self, request: Request) -> Response:
        """`/time`: this machine's clock."""
        _read(request)
        return json_response({"serverTime": self._clock(request)})

    async def exchange_info(self, request: Request) -> Response:
        """`/exchangeInfo`: the registry's markets."""
        spot = () if self._venue.is_futures else _SPOT_FILTERS
        parameters = _read(request, "symbol", "symbols", *spot)
        wanted = parameters.symbols(self._names)
        status, permissions = parameters.choice("symbolStatus", _STATUSES), parameters.words("permissions")
        if wanted is not None and (status or permissions):
            raise contradictory()
        listed = self._markets.listed(self._venue.exchange)
        found = [self._venue.market(entry) for entry in listed if wanted is None or entry.canonical in wanted]
        found = [market for market in found if status in {None, market["status"]}]
        if permissions is not None:
            found = [market for market in found if not permissions.isdisjoint(market["permissions"])]
        if parameters.choice("showPermissionSets", _BOOLEANS) == "false":
            found = [market | {"permissionSets": []} for market in found]
        return json_response(
            {
                "timezone": "UTC",
                "serverTime": self._clock(request),
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": found,
            }
        )

    async def klines(self, request: Request) -> Response:
        """`/klines` and `/uiKlines`. A window without a trade has no candle. `source=venue`: the venue's own."""
        parameters = _read(request, "symbol", "interval", "startTime", "endTime", "timeZone", "limit", "source")
        in_ms = self._units_in_ms(request)
        symbol, interval = parameters.symbol(self._names), parameters.interval()
        start, end = parameters.times()
        limit = parameters.limit(_DEFAULT_ROWS, self._venue.most_candles)
        zone = parameters.zone()
        source = parameters.optional("source")
        if source not in {None, "venue"}:
            raise ApiError(-1130, "Data sent for parameter 'source' is not valid: give venue, or leave it out.")
        if source is not None:
            if zone:
                raise ApiError(
                    -1130, "Data sent for parameter 'timeZone' is not valid: the venue's candles are of UTC."
                )
            bars = await venue_klines(self._reader, self._venue.exchange, symbol, interval, limit, start, end)
            return json_response(_in_unit(bars, in_ms))
        interval = interval.in_zone(zone)
        rows = await self._candles.rows(interval, [(self._venue.exchange, symbol)], limit, start, end, with_state=False)
        await self._candles.add_buyers(interval, rows)
        return json_response(_in_unit([kline(interval, row) for row in rows], in_ms))

    async def funding_rate(self, request: Request) -> Response:
        """`/fundingRate`: of one market or all, as the venue settled them."""
        parameters = _read(request, "symbol", "startTime", "endTime", "limit")
        has_symbol = parameters.optional("symbol") is not None
        symbol = parameters.symbol(self._names) if has_symbol else ""
        limit = parameters.limit(_DEFAULT_RATES, _MOST_RATES)
        start, end = parameters.times()
        rates = await funding_rates(self._reader, self._venue.exchange, symbol, limit, start, end)
        return json_response(rates)

    async def price(self, request: Request) -> Response:
        """`/ticker/price`: of one market, some or all."""
        wanted = _read(request, "symbol", "symbols").symbols(self._names)
        rows = await tickers.prices(self._reader, [self._venue.exchange], _only(wanted))
        now = {"time": _now()} if self._venue.is_futures else {}
        found = [{"symbol": row["symbol"], "price": amount(row["last_price"]), **now} for row in rows]
        return json_response(_chosen(request, wanted, found))

    async def day(self, request: Request) -> Response:
        """`/ticker/24hr`: of one market, some or all."""
        parameters, in_ms = _read(request, "symbol", "symbols", "type"), self._units_in_ms(request)
        wanted = parameters.symbols(self._names)
        is_mini = parameters.choice("type", frozenset({"FULL", "MINI"})) == "MINI"
        left_out = _NOT_IN_MINI if is_mini else frozenset({"exchange"})
        rows = await tickers.tickers(self._reader, [self._venue.exchange], _only(wanted))
        for row in rows:
            row.update({name: row[name] * in_ms for name in ("openTime", "closeTime")})
        found = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
        return json_response(_chosen(request, wanted, found))

    async def trades(self, request: Request) -> Response:
        """`/trades`: the newest trades of a market."""
        parameters, in_ms = _read(request, "symbol", "limit"), self._units_in_ms(request)
        symbol, limit = parameters.symbol(self._names), parameters.limit(_DEFAULT_ROWS, _MOST_TRADES)
        rows = await self._trades(symbol, limit, 0, END_US, 0, is_latest=True)
        best = {} if self._venue.is_futures else {"isBestMatch": True}
        return json_response(
            [
                {
                    "id": trade_id(row["trade_id"]),
                    "price": amount(row["price"]),
                    "qty": amount(row["quantity"]),
                    "quoteQty": amount(row["quote_volume"]),
                    "time": row["time"] * in_ms // 1000,
                    "isBuyerMaker": bool(row["is_buyer_maker"]),
                    **best,
                }
                for row in rows
            ]
        )

    async def aggregate_trades(self, request: Request) -> Response:
        """`/aggTrades`: each trade by itself, since no layer knows which trades came from one order."""
        parameters = _read(request, "symbol", "fromId", "startTime", "endTime", "limit")
        in_ms = self._units_in_ms(request)
        symbol, limit = parameters.symbol(self._names), parameters.limit(_DEFAULT_ROWS, _MOST_TRADES)
        start, end = parameters.times_us()
        from_id = parameters.number("fromId")
        if from_id is not None and (start is not None or end is not None):
            raise contradictory()
        is_latest = start is None and from_id is None
        until = END_US if end is None else end + 1
        rows = await self._trades(symbol, limit, start or 0, until, from_id or 0, is_latest=is_latest)
        best = {} if self._venue.is_futures else {"M": True}
        return json_response(
            [
                {
                    "a": trade_id(row["trade_id"]),
                    "p": amount(row["price"]),
                    "q": amount(row["quantity"]),
                    "f": first_id(row["trade_id"], row["match_count"]),
                    "l": trade_id(row["trade_id"]),
                    "T": row["time"] * in_ms // 1000,
                    "m": bool(row["is_buyer_maker"]),
                    **best,
                }
                for row in rows
            ]
        )

    def _units_in_ms(self, request: Request) -> int:
        """How many of the unit of times that the client wants are 1 ms: 1, or 1,000 for µs. Futures have ms only.

        Raises:
            ApiError: -1194, there is no such unit.
        """
        wanted = "" if self._venue.is_futures else request.headers.get(TIME_UNIT, "")
        return units_in_ms(wanted)

    def _clock(self, request: Request) -> int:
        return time.time_ns() // 1000 * self._units_in_ms(request) // 1000

    async def _trades(
        self, symbol: str, limit: int, start: int, until: int, from_id: int, *, is_latest: bool
    ) -> list[Row]:
        rows = await self._reader.rows(
            "trades",
            {
                "exchange": self._venue.exchange,
                "symbol": symbol,
                "from": start,
                "until": until,
                "from_id": min(from_id, 2**63 - 1),
                "limit": limit,
            },
            direction="DESC" if is_latest else "ASC",
        )
        return rows[::-1] if is_latest else rows


def units_in_ms(unit: str) -> int:
    """1 for `MILLISECOND` or "", 1,000 for `MICROSECOND`, in any case.

    Raises:
        ApiError: -1194, there is no such unit.
    """
    found = {"": 1, "MILLISECOND": 1, "MICROSECOND": 1_000}.get(unit.upper())
    if found is None:
        raise invalid_time_unit()
    return found


def _in_unit(klines: list[list[Any]], in_ms: int) -> list[list[Any]]:
    """Candles with times in ms, as ones of `in_ms` units a ms. The closing time is the last unit of the window."""
    return [[one[0] * in_ms, *one[1:6], (one[6] + 1) * in_ms - 1, *one[7:]] for one in klines]


def trade_id(text: str) -> int | str:
    """A trade id as a number if it is one below 10^18, else as text."""
    return int(text) if _is_number(text) and len(text) < 19 else text


def first_id(text: str, match_count: int) -> int | str:
    """The id of the first match that a trade stands for. The trade has the id of the last match, if ids are numbers."""
    return trade_id(str(int(text) - match_count + 1)) if _is_number(text) else text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _read(request: Request, *known: str) -> RequestParameters:
    return RequestParameters(request.query_params.multi_items(), frozenset(known))


def _only(wanted: tuple[str, ...] | None) -> str:
    return wanted[0] if wanted is not None and len(wanted) == 1 else ""


def _chosen(request: Request, wanted: tuple[str, ...] | None, found: list[Row]) -> Row | list[Row]:
    """One object if the request has `symbol`, else a list.

    Raises:
        ApiError: -1121, the market of `symbol` has no trade.
    """
    chosen = [row for row in found if wanted is None or row["symbol"] in wanted]
    if "symbol" not in request.query_params:
        return chosen
    if not chosen:
        raise ApiError(-1121, "Invalid symbol: no trade of it is known.")
    return chosen[0]


def _now() -> int:
    return int(time.time() * 1000)
