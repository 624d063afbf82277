"""The endpoints of the page alone: markets of all exchanges, a candle's trades and verdict, series under the candles,
the pipeline, dead letters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from series.quality.causes import AGREEING, MEANINGS
from serving.errors import ApiError, invalid, missing
from serving.market_data import tickers
from serving.market_data.amounts import amount
from serving.market_data.candles import Candles, Market
from serving.market_data.hot_reader import AccessDeniedError, HotReader, Row
from serving.market_data.intervals import Interval
from serving.market_data.markets import Markets
from serving.market_data.series import fear_greed, funding_rates
from serving.parameters import RequestParameters
from serving.rest.endpoints import json_response
from serving.rest.shared import Endpoint

_MOST_TRADES = 200
_MOST_DEAD_LETTERS = 200
_MOST_CANDLES = 1_000
_MOST_VERDICTS = 1_000
_MOST_ROWS = 1_000
_MOST_OFFSET = 1_000_000
_RATE_SECONDS = 60
# Older trades are not live. `pipeline_latency` has no index by arrival, so this bound keeps the query fast.
_RATE_HOURS = 24
_MOST_TEXT = 200


class PageApi:
    """The endpoints below `/v1/`."""

    def __init__(self, reader: HotReader, candles: Candles, markets: Markets) -> None:
        self._reader = reader
        self._candles = candles
        self._markets = markets

    def endpoints(self) -> dict[str, Endpoint]:
        """The endpoints by path below `/v1/`."""
        return {
            "markets": self.markets,
            "candles": self.candles,
            "pins": self.pins,
            "agreement": self.agreement,
            "funding": self.funding,
            "fear-greed": self.fear_greed,
            "origin": self.origin,
            "payload": self.payload,
            "pipeline": self.pipeline,
            "dead-letters": self.dead_letters,
        }

    async def markets(self, request: Request) -> Response:
        """Every market with a trade: price, 24 hours, time of its newest trade (ms)."""
        RequestParameters(request.query_params.multi_items(), frozenset())
        exchanges = self._markets.exchanges
        rows, newest = await self._reader.gather(
            tickers.tickers(self._reader, exchanges),
            self._reader.rows("newest", {"exchanges": exchanges}),
        )
        last = {(row["exchange"], row["symbol"]): row["last_time"] for row in newest}
        found = [row | {"lastTime": last.get((row["exchange"], row["symbol"]), 0)} for row in rows]
        return json_response({"serverTime": int(time.time() * 1000), "markets": found})

    async def candles(self, request: Request) -> Response:
        """The last candles up to `endTime` (ms), with their state. `isPinned`: the candle is the same in `pin`.

        `isBackfilled` (a trade came after the candle could be closed) is null for a candle that only Iceberg has.
        `closeTime` is the last ms of the window. `exchangeSymbol` is the value for `medallion series run --symbol`.
        """
        names = frozenset({"exchange", "symbol", "interval", "endTime", "limit", "pin"})
        parameters = RequestParameters(request.query_params.multi_items(), names)
        exchange = self._exchange(parameters)
        symbol, interval = parameters.symbol(self._markets.names(exchange)), parameters.interval()
        end, limit = parameters.number("endTime"), parameters.limit(_MOST_CANDLES, _MOST_CANDLES)
        if end is not None and end >= 2**42:
            raise invalid("endTime")
        rows = await self._candles.rows(interval, [(exchange, symbol)], limit, None, end, with_state=True)
        pinned = await self._pinned(parameters.optional("pin"), interval, (exchange, symbol), rows)
        return json_response(
            {
                "exchangeSymbol": self._markets.exchange_symbol(exchange, symbol),
                "isPerpetual": self._markets.is_perpetual(exchange, symbol),
                "candles": [
                    {
                        "openTime": row["opened"] * 1000,
                        "closeTime": interval.end(row["opened"]) * 1000 - 1,
                        **{name: amount(row[name]) for name in ("open", "high", "low", "close", "volume")},
                        "trades": row["trade_count"],
                        "isClosed": bool(row["is_closed"]),
                        "isComplete": bool(row["is_complete"]),
                        "isBackfilled": None if row["is_backfilled"] is None else bool(row["is_backfilled"]),
                        "isPinned": _values(row) in pinned,
                    }
                    for row in rows
                ],
            }
        )

    async def pins(self, request: Request) -> Response:
        """The pins whose views ClickHouse has and this service's user may read."""
        RequestParameters(request.query_params.multi_items(), frozenset())
        return json_response({"pins": [row["pin"] for row in await self._reader.rows("pins", {})]})

    async def _pinned(self, pin: str | None, interval: Interval, market: Market, rows: Sequence[Row]) -> set[Any]:
        """The values of these candles in a pin. Empty for an interval that no cold table has."""
        if pin is None or not rows:
            return set()
        if pin not in {row["pin"] for row in await self._reader.rows("pins", {})}:
            raise ApiError(-1130, "Data sent for parameter 'pin' is not valid: /v1/pins lists the pins.")
        if interval.seconds != interval.base.seconds:
            return set()
        found = await self._reader.rows(
            "pinned",
            {
                "exchange": market[0],
                "symbol": market[1],
                "from": rows[0]["opened"],
                "until": interval.end(rows[-1]["opened"]),
                "limit": _MOST_CANDLES,
            },
            source=f"pin_{pin}.{interval.base.view}",
        )
        return {_values(row) for row in found}

    async def agreement(self, request: Request) -> Response:
        """The newest verdict of `medallion quality check` on candles that open from `startTime` to `endTime` (ms).

        `agrees`: equal, or different only by the venue's rounding. `differing`: each cell that differs, exact; "" if a
        side does not have it. Unchecked candles are absent. `limit` takes the first ones.
        """
        names = frozenset({"exchange", "symbol", "interval", "startTime", "endTime", "limit"})
        parameters = RequestParameters(request.query_params.multi_items(), names)
        exchange = self._exchange(parameters)
        symbol, interval = parameters.symbol(self._markets.names(exchange)), parameters.interval()
        start, end = _span(parameters)
        limit = parameters.limit(_MOST_VERDICTS, _MOST_VERDICTS)
        market = {"exchange": exchange, "symbol": symbol, "frame": interval.code}
        rows = await self._reader.rows("agreement", {**market, "from": start, "until": end, "limit": limit})
        return json_response({"verdicts": [_verdict(row) for row in rows]})

    async def funding(self, request: Request) -> Response:
        """The stored funding rates of a market that were settled from `startTime` to `endTime` (ms), by time.

        `rate` is the part of the position that long pays to short, `percent` the same times 100; both exact. `limit`
        takes the first ones.
        """
        names = frozenset({"exchange", "symbol", "startTime", "endTime", "limit"})
        parameters = RequestParameters(request.query_params.multi_items(), names)
        exchange = self._exchange(parameters)
        symbol = parameters.symbol(self._markets.names(exchange))
        start, end = _span(parameters)
        limit = parameters.limit(_MOST_ROWS, _MOST_ROWS)
        rows = await funding_rates(self._reader, exchange, symbol, limit, start, end)
        return json_response({"rates": [_rate(row) for row in rows]})

    async def fear_greed(self, request: Request) -> Response:
        """The stored Fear & Greed index of the days that start from `startTime` to `endTime` (ms), by time.

        `value` is 0 (extreme fear) to 100 (extreme greed). `limit` takes the first ones.
        """
        parameters = RequestParameters(request.query_params.multi_items(), frozenset({"startTime", "endTime", "limit"}))
        start, end = _span(parameters)
        limit = parameters.limit(_MOST_ROWS, _MOST_ROWS)
        return json_response({"days": await fear_greed(self._reader, limit, start, end)})

    async def origin(self, request: Request) -> Response:
        """The trades of the candle of `interval` that opened at `openTime` (ms), with their Kafka messages."""
        names = frozenset({"exchange", "symbol", "interval", "openTime", "offset"})
        parameters = RequestParameters(request.query_params.multi_items(), names)
        exchange = self._exchange(parameters)
        symbol, interval = parameters.symbol(self._markets.names(exchange)), parameters.interval()
        opened, offset = parameters.number("openTime"), parameters.number("offset") or 0
        if opened is None:
            raise missing("openTime")
        if opened % 1000 or opened >= 2**42 or interval.start(opened // 1000) != opened // 1000:
            raise invalid("openTime")
        if offset > _MOST_OFFSET:
            raise invalid("offset")
        rows = await self._reader.rows(
            "origin",
            {
                "exchange": exchange,
                "symbol": symbol,
                "from": opened // 1000,
                "until": interval.end(opened // 1000),
                # One more than is shown, to know whether there are more.
                "limit": _MOST_TRADES + 1,
                "offset": offset,
            },
            trades=await self._candles.trades_since(opened // 1000),
        )
        return json_response({"trades": rows[:_MOST_TRADES], "hasMore": len(rows) > _MOST_TRADES})

    async def payload(self, request: Request) -> Response:
        """A raw message as the producer published it, in `payload`.

        `payload` is null, with a reason, if neither tier has the message or this service's user may not read Raw.
        """
        names = frozenset({"exchange", "topic", "partition", "offset", "ingested"})
        parameters = RequestParameters(request.query_params.multi_items(), names)
        exchange = self._exchange(parameters)
        place: dict[str, Any] = {name: _required(parameters, name) for name in ("partition", "offset", "ingested")}
        topic = parameters.text("topic")
        try:
            rows = await self._payload({"exchange": exchange, "topic": topic, **place})
        except AccessDeniedError:
            return json_response({"payload": None, "reason": "The service's ClickHouse user may not read trades_raw."})
        if not rows:
            return json_response({"payload": None, "reason": "Neither ClickHouse nor Iceberg has the raw message."})
        return json_response({"payload": rows[0]["raw_json"], "reason": None})

    async def _payload(self, place: dict[str, Any]) -> list[Row]:
        """The message from the hot table, else from the view of hot and cold messages, if it exists."""
        rows = await self._reader.rows("payload", place, source="trades_raw")
        if rows or not await self._reader.rows("replay_views", {"pin_database": ""}):
            return rows
        return await self._reader.rows("payload", place, source="trades_raw_all")

    async def pipeline(self, request: Request) -> Response:
        """The last minute by exchange: trades a second, and seconds (p50, p99) of each stage; dead letters."""
        RequestParameters(request.query_params.multi_items(), frozenset())
        stages, dead_letters = await self._reader.gather(
            self._reader.rows("stages", {"seconds": _RATE_SECONDS, "hours": _RATE_HOURS}),
            self._reader.rows("dead_letters_by_reason", {}),
        )
        return json_response({"seconds": _RATE_SECONDS, "exchanges": stages, "deadLetters": dead_letters})

    async def dead_letters(self, request: Request) -> Response:
        """The newest open dead letters; `reason`, `exchange` and `symbol` filter."""
        filters = ("reason", "exchange", "symbol")
        parameters = RequestParameters(request.query_params.multi_items(), frozenset({*filters, "limit"}))
        wanted: dict[str, object] = {name: parameters.optional(name) or "" for name in filters}
        for name, value in wanted.items():
            if len(str(value)) > _MOST_TEXT:
                raise invalid(name)
        limit = parameters.limit(_MOST_DEAD_LETTERS, _MOST_DEAD_LETTERS)
        rows: list[Row] = await self._reader.rows("dead_letters", wanted | {"limit": limit})
        return json_response({"letters": rows})

    def _exchange(self, parameters: RequestParameters) -> str:
        exchange = parameters.text("exchange")
        if exchange not in self._markets.exchanges:
            raise ApiError(-1130, "Data sent for parameter 'exchange' is not valid.")
        return exchange


def _span(parameters: RequestParameters) -> tuple[int, int]:
    """`startTime` and `endTime`, both required; ms, both inclusive."""
    start, end = parameters.times()
    if start is None:
        raise missing("startTime")
    if end is None:
        raise missing("endTime")
    return start, end


def _rate(row: Row) -> dict[str, Any]:
    rate = row["fundingRate"]
    return {"time": row["fundingTime"], "rate": rate, "percent": amount(f"{Decimal(rate).scaleb(2):f}")}


def _verdict(row: Row) -> dict[str, Any]:
    return {
        "openTime": row["opened"],
        "result": row["result"],
        "agrees": not row["cause"] or row["cause"] in AGREEING,
        "cause": row["cause"],
        # A later version may have stored a cause that this one does not know.
        "meaning": MEANINGS.get(row["cause"], ""),
        "detail": row["detail"],
        "differing": [
            {"cell": cell, "ours": ours, "theirs": theirs}
            for cell, ours, theirs in zip(row["differing"], row["ours"], row["theirs"], strict=True)
        ],
        "checked": row["checked"],
    }


def _values(row: Row) -> tuple[object, ...]:
    """The start, the exact amounts and the count of a candle."""
    amounts = (amount(row[name]) for name in ("open", "high", "low", "close", "volume", "quote_volume"))
    return (row["opened"], *amounts, row["trade_count"])


def _required(parameters: RequestParameters, name: str) -> int:
    value = parameters.number(name)
    if value is None:
        raise missing(name)
    if value >= 2 ** (32 if name == "partition" else 53):
        raise invalid(name)
    return value
