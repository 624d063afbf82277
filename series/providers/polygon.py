"""Bars of US shares from Polygon (now called Massive), through its client library `massive`.

GET /v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to} (massive.com/docs, "Custom Bars"): `results` has
a bar for each period with a trade, oldest first: `t` (ms, start), `o`, `h`, `l`, `c`, `v`, `n` (trades); `next_url`
where the span has more. A day begins at midnight in New York, other periods at a multiple of their length.
`adjusted=false`: prices as they were traded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3

from config.settings import Settings
from producers.exchanges.model import Rate
from producers.exchanges.parsing import ABSENT, elements, fields, text
from series.providers.asking import HttpSession
from series.providers.equity_bars import DAY, OtherShapeError, Page, missing_key, missing_library, rows_of
from series.providers.model import Question

NAME = "polygon"
_FRAMES = {
    "1m": (1, "minute"),
    "3m": (3, "minute"),
    "5m": (5, "minute"),
    "15m": (15, "minute"),
    "30m": (30, "minute"),
    "1h": (1, "hour"),
    DAY: (1, "day"),
}
_PLACES = {
    "window_start": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trade_count": "n",
}  # fmt: skip
# The interface's limit: minutes or days from which an answer is computed.
_MOST = 50_000


class Polygon:
    """Implements `Source`. The library builds each request (address, parameters, key); our own session sends it."""

    name = NAME
    frames = tuple(_FRAMES)
    most: Mapping[str, timedelta] = {}
    reach: Mapping[str, timedelta] = {}

    def __init__(self, settings: Settings, base: str | None = None) -> None:
        """`base`: replaces the address.

        Raises:
            SeriesError: the key or the library is missing.
        """
        key = settings.polygon_api_key.get_secret_value()
        if not key:
            raise missing_key(NAME, "MEDALLION_POLYGON_API_KEY")
        try:
            from massive import RESTClient  # noqa: PLC0415  # an extra
            from massive.rest import BASE  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing_library(NAME, error) from error
        self.rate = Rate(1, 60 / settings.polygon_requests_per_minute)
        self._client = RESTClient(key, base=(base or BASE).rstrip("/"), retries=0)
        self._session = HttpSession(NAME)

    async def ask(self, question: Question, start: datetime, end: datetime) -> tuple[str, bytes]:
        """As `Source.ask`."""
        request = self._request(question, start, end - timedelta(microseconds=1))
        return request.address, await self._session.get(request.address, request.headers)

    def _request(self, question: Question, start: datetime, last: datetime) -> _Request:
        request = _Request()
        self._client.client = request
        # A day is given by its date in New York.
        span: tuple[datetime | date, ...] = (start.date(), last.date()) if question.frame == DAY else (start, last)
        multiplier, timespan = _FRAMES[question.frame]
        self._client.get_aggs(
            question.exchange_symbol, multiplier, timespan, *span, adjusted=False, sort="asc", limit=_MOST, raw=True
        )
        return request

    def read(self, body: bytes, question: Question) -> Page:
        """As `Source.read`."""
        answer = fields(msgspec.Raw(body))
        # An answer without a bar has no `results`.
        if not text(answer.get("results", ABSENT)):
            if text(answer.get("resultsCount", ABSENT)) != "0":
                raise OtherShapeError("neither results nor their count")
            return Page(())
        rows = rows_of(elements(answer["results"]), _PLACES, question)
        return Page(rows, bool(text(answer.get("next_url", ABSENT))))

    async def close(self) -> None:
        """As `Source.close`."""
        await self._session.close()


class _Request:
    """Replaces the library's pool of connections (`RESTClient.client`), and keeps the request instead of sending it.

    If the library sent its requests, it would hide the status and `Retry-After` of an answer, and would bound neither
    its size nor its redirects.
    """

    def __init__(self) -> None:
        self.address = ""
        self.headers: dict[str, str] = {}

    def request(self, method: str, url: str, fields: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        """As `urllib3.PoolManager.request`. The library returns the empty response."""
        del method
        self.address, self.headers = f"{url}?{urlencode(fields)}", dict(headers)
        return urllib3.HTTPResponse(status=200)
