"""Requests trades over REST: within the exchange's rate limit, behind a circuit breaker, with retries if it is busy."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import aiohttp
import msgspec
import structlog
from tenacity import AsyncRetrying

from config.process.retry import retry_times
from producers import metrics
from producers.exchanges.model import (
    PLACEHOLDER,
    Exchange,
    Pages,
    RefusedError,
    Rest,
    RestError,
    Trade,
    TradeSpan,
    UnknownError,
    id_number,
)
from producers.rest.bounded import bounded_session
from producers.timestamps import event_time_us
from producers.venue_limits import VenueLimits, VenueUnavailableError

_TIMEOUT_S = 20.0
# Most attempts at a busy exchange, and the longest pause between them, even if a header asks for a longer one.
_TRIES = 5
_LONGEST_PAUSE_S = 300.0
_TOO_MANY = (418, 429)  # 418: Binance's answer to a client that ignored 429
_UNKNOWN = (400, 404)
_log = structlog.get_logger(__name__)


class TradesSource(Protocol):
    """The REST interface that healing uses."""

    def pages(self, symbol: str, span: TradeSpan) -> AsyncIterator[list[Trade]]:
        """As `RestClient.pages`."""

    async def newest(self, symbol: str, since_us: int | None = None) -> list[Trade]:
        """As `RestClient.newest`, with all trades from `since_us` (µs, UTC) on, if the exchange serves them."""

    def resume(self, published: Mapping[str, Sequence[Trade]]) -> None:
        """Record the trades that earlier runs of the producer published, by symbol."""


# After these errors a request may be repeated later.
FAILURES = (RestError, VenueUnavailableError, aiohttp.ClientError, TimeoutError, msgspec.DecodeError)


class BusyError(RestError):
    """The exchange is busy or unreachable. `wait_s`: the pause it asks for; 0 if it names none."""

    def __init__(self, message: str, wait_s: float) -> None:
        """`wait_s`: see the class."""
        super().__init__(message)
        self.wait_s = wait_s


def retry_busy(code: str) -> AsyncRetrying:
    """The retry policy of one request to an exchange. BusyError is raised after the last attempt."""
    log = _log.bind(exchange=code)
    return retry_times(_TRIES, lambda error: isinstance(error, BusyError), _LONGEST_PAUSE_S, log, "REST refused")


class RestClient:
    """Requests trades from one exchange. `async with` opens and closes its connections."""

    def __init__(
        self,
        exchange: Exchange,
        rest: Rest,
        venue_limits: VenueLimits,
        base: str | None = None,
        stream: str | None = None,
    ) -> None:
        """`base` and `stream` replace the exchange's URLs."""
        self._code = exchange.code
        self._rest = rest
        self._venue_limits = venue_limits
        self._base = base or rest.url
        self._headers = {**rest.headers_beside(stream or exchange.url)}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        key = "" if self.lacks_key else os.environ.get(self._rest.key_variable, "")
        self._session = bounded_session(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            headers=self._headers | ({self._rest.key_header: key} if key else {}),
            trust_env=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def rest(self) -> Rest:
        """The exchange's REST interface."""
        return self._rest

    @property
    def lacks_key(self) -> bool:
        """Whether the exchange serves only its newest trades, because it requires an API key and none is set."""
        return bool(self._rest.key_variable) and not os.environ.get(self._rest.key_variable)

    def resume(self, published: Mapping[str, Sequence[Trade]]) -> None:
        """Do nothing: this client requests missing trades by id."""

    async def newest(self, symbol: str, since_us: int | None = None) -> list[Trade]:  # noqa: ARG002  # not by time
        """One page of the newest trades, oldest first.

        Raises:
            as `pages`.
        """
        return await self._get(symbol, self._rest.newest(symbol))

    async def page(self, symbol: str, span: TradeSpan) -> list[Trade]:
        """The first page of a span, oldest first. It may hold trades around the span.

        Raises:
            as `pages`.
        """
        return await self._get(symbol, self._rest.request(symbol, span))

    async def pages(self, symbol: str, span: TradeSpan) -> AsyncIterator[list[Trade]]:
        """The span's trades, page by page, each oldest first. They may hold trades around the span.

        Raises:
            RestError: the exchange's answer holds no trades.
            aiohttp.ClientError, TimeoutError: the exchange is unreachable.
            VenueUnavailableError: its circuit breaker is open.
        """
        if self.lacks_key or self._rest.pages is Pages.NONE:
            yield await self.newest(symbol)
            return
        while True:
            trades = await self.page(symbol, span)
            yield trades
            after = rest_of(span, trades, self._rest.pages) if trades else None
            if after is None or after == span:
                return
            span = after

    async def _get(self, symbol: str, path: str) -> list[Trade]:
        return await retry_busy(self._code)(self._get_once, symbol, path)

    async def _get_once(self, symbol: str, path: str) -> list[Trade]:
        async with self._venue_limits.requesting():
            return self._read(symbol, await self._body(path))

    def _read(self, symbol: str, body: bytes) -> list[Trade]:
        try:
            trades = self._rest.parse(symbol, body)
            if self._rest.pages is not Pages.NONE:
                _check_ids(trades)
        # No answer may end the producer, whatever its form. Deeply nested brackets raise RecursionError.
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RestError(f"unreadable answer ({error}): {body[:200].decode(errors='replace')}") from error
        if placeholders := sum(trade.kind == PLACEHOLDER for trade in trades):
            metrics.CONTROL.labels(self._code, PLACEHOLDER).inc(placeholders)
        return trades

    async def _body(self, path: str) -> bytes:
        assert self._session is not None, "use `async with`"
        return await get_body(self._session, self._code, self._base + path)


def _check_ids(trades: Sequence[Trade]) -> None:
    for trade in trades:
        if id_number(trade.trade_id) is None:
            message = f"trade id {trade.trade_id[:100]!r} is no number below 2^64"
            raise ValueError(message)


async def get_body(
    session: aiohttp.ClientSession, code: str, url: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """Send one GET request and return the body of the answer. `code`: labels the metric. `headers`: of this request.

    Raises:
        BusyError, RefusedError: as `check_status`.
        aiohttp.ClientError, TimeoutError: the server is unreachable, or redirects.
    """
    async with session.get(url, headers=headers) as response:
        metrics.REST_REQUESTS.labels(code, str(response.status)).inc()
        body = await response.read()
        check_status(response.status, response.headers, response.url.path_qs, body)
        return body


def check_status(status: int, headers: Mapping[str, str], path: str, body: bytes) -> None:
    """Raise the error of an answer that is no success. `headers`: finds names in any case. `path`: of the request.

    Raises:
        BusyError: the server is busy or has failed (418, 429, 5xx).
        UnknownError: it does not know what was requested (400, 404).
        RefusedError: it refuses the request.
    """
    if status in _TOO_MANY or status >= 500:
        raise BusyError(f"HTTP {status}", retry_after_s(headers.get("Retry-After", "")))
    if status != 200:
        refused = UnknownError if status in _UNKNOWN else RefusedError
        raise refused(f"HTTP {status} to {path}: {body[:200].decode(errors='replace')}")


def rest_of(span: TradeSpan, trades: list[Trade], pages: Pages) -> TradeSpan | None:
    """The part of the span after this page; None: nothing is left."""
    ids = [int(trade.trade_id) for trade in trades]
    if pages is Pages.BACKWARD:
        return dataclasses.replace(span, last=min(ids) - 1) if min(ids) > span.first else None
    if max(ids) >= span.last:
        return None
    time_us = max(event_time_us(trade.timestamp) or 0 for trade in trades)
    return TradeSpan(max(max(ids) + 1, span.first), span.last, max(time_us, span.since_us))


def retry_after_s(text: str) -> float:
    """The seconds of a `Retry-After` header, at most five minutes; 0 if it is absent or a date, which none sends."""
    return min(float(text), _LONGEST_PAUSE_S) if text.isascii() and text.isdigit() else 0.0
