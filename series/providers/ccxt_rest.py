"""Bars and funding rates of any exchange that ccxt knows (docs.ccxt.com: fetchOHLCV, fetchFundingRateHistory).

A unified bar has no number of trades. The answers of Binance's spot and USD-M markets have it, so our own code reads
these.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from producers.ccxt.feed import exchange_named
from producers.ccxt.rest_calls import UNFORESEEN, call
from producers.ccxt.venue import make
from producers.exchanges.model import RestError
from producers.options import ProducerOptions
from producers.timestamps import now_us
from producers.venue_limits import VenueLimits
from series.answer import Answer, Defect, Row
from series.errors import SeriesError
from series.providers import binance_klines
from series.providers.asking import defect_of, retry_while_busy
from series.providers.model import ProviderError, Question

# ccxt's name of a code, if it differs from ours, and the options that make ccxt read the code's markets only.
_NAMES = {"binance_usdm": "binanceusdm", "binance_coinm": "binancecoinm", "bybit_linear": "bybit"}
_OPTIONS = {"binance": {"fetchMarkets": {"types": ["spot"]}}, "bybit_linear": {"defaultType": "swap"}}
_KLINES = frozenset(("binance", "binance_usdm"))
_METHODS = {"bars": "fetchOHLCV", "funding_rates": "fetchFundingRateHistory"}
_BAR = ("window_start", "open", "high", "low", "close", "volume")
_PAGE = 1_000


class CcxtRest:
    """Asks one exchange, page by page, oldest first; one request at a time."""

    def __init__(self, exchange: str, base: str | None = None, options: ProducerOptions | None = None) -> None:
        """`exchange`: our code, or ccxt's name. `base`: replaces scheme and host of the exchange's addresses.

        Raises:
            SeriesError: ccxt does not know the exchange.
        """
        options = options or ProducerOptions()
        name = _NAMES.get(exchange, exchange)
        known = exchange_named(name)
        if known is None:
            raise SeriesError(f"ccxt knows no exchange {name!r}: give --exchange a code of ours, or ccxt's name")
        self.name = "ccxt"
        self._code = exchange
        rate = options.requests or known.requests
        self._limits = VenueLimits(
            exchange, known.connects, rate, failures=options.breaker_failures, open_s=options.breaker_open_s
        )
        self._venue = make(name, self._limits, options.open_s, rest_endpoint=base)
        self._venue.options |= _OPTIONS.get(exchange, {})
        # ccxt keeps the last request and its answer in the exchange object, so only one request may run at a time.
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """As `Provider.close`."""
        await self._venue.close()

    async def answers(self, question: Question) -> AsyncIterator[Answer]:
        """As `Provider.answers`."""
        method = _METHODS.get(question.series.name, "")
        if not self._venue.has.get(method):
            raise SeriesError(f"{self._code} has no {question.series.name} through ccxt: use another --provider")
        since_ms, end_ms = _ms(question.start), _ms(question.end)
        while since_ms < end_ms:
            answer = await retry_while_busy(self._code, partial(self._page, question, since_ms))
            yield answer
            if not answer.rows:
                return
            # A row with a time in the future does not show up to which time the exchange has answered.
            past = [time_ms for row in answer.rows if (time_ms := _time_ms(row)) * 1_000 <= answer.received_us]
            if max(past, default=0) < since_ms:
                raise ProviderError(f"{question.name}: nothing usable comes after {_moment(since_ms)}; run again later")
            since_ms = max(past) + 1

    async def _page(self, question: Question, since_ms: int) -> Answer:
        async with self._turn:
            return await self._ask_page(question, since_ms)

    async def _ask_page(self, question: Question, since_ms: int) -> Answer:
        rows: list[Row] = []
        defect = ""
        try:
            found = await call(self._code, self._venue, self._limits, lambda: self._ask(question, since_ms))
            body = self._venue.last_body
            rows, defect = self._rows(question, found, body)
        except RestError as error:
            body = self._venue.last_body
            # An answer that ccxt could not read is stored with its defect.
            if not body or not isinstance(error.__cause__, UNFORESEEN):
                raise
            defect = defect_of(body)
        return Answer(self.name, self._venue.last_url, now_us(), body, rows, defect)

    async def _ask(self, question: Question, since_ms: int) -> list[Any]:
        await self._venue.load_markets()
        symbol = self._venue.market(question.exchange_symbol)["symbol"]
        self._venue.forget_answer()
        if question.series.name == "bars":
            found: list[Any] = await self._venue.fetch_ohlcv(symbol, question.frame, since_ms, _PAGE)
        else:
            found = await self._venue.fetch_funding_rate_history(symbol, since_ms, _PAGE)
        return found

    def _rows(self, question: Question, found: list[Any], body: bytes) -> tuple[list[Row], str]:
        # ccxt returns an answer that is no JSON as a text, and then takes its characters for rows.
        if (defect := defect_of(body)) is Defect.NOT_JSON:
            return [], defect
        if question.series.name != "bars":
            return [_rate(one, question.key) for one in found], ""
        if self._code not in _KLINES:
            return [_bar(one, question.key) for one in found], ""
        try:
            return binance_klines.of_answer(body, question.key), ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [], Defect.OTHER_SHAPE


def _bar(bar: list[Any], market: Mapping[str, str]) -> Row:
    return {**market, **{name: _text(value) for name, value in zip(_BAR, bar, strict=False)}}


def _rate(rate: Mapping[str, Any], market: Mapping[str, str]) -> Row:
    info = rate.get("info")
    mark = info.get("markPrice") if isinstance(info, Mapping) else None
    values = {"funding_time": rate.get("timestamp"), "rate": rate.get("fundingRate"), "mark_price": mark}
    return {**market, **{name: _text(value) for name, value in values.items()}}


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _time_ms(row: Row) -> int:
    time = row.get("window_start", row.get("funding_time", ""))
    return int(time) if time.isascii() and time.isdigit() and len(time) < 16 else 0


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1_000, tz=UTC):%Y-%m-%d %H:%M:%S}"
