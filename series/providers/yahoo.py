"""Bars of shares of all exchanges from Yahoo, through the client library `yfinance`.

GET /v8/finance/chart/{symbol}?period1=…&period2=…&interval=… (not documented by Yahoo; as yfinance reads it):
`chart.result[0]` has `timestamp` (s, start of each period), lists of the same length in `indicators.quote[0]` (null if
nothing was traded), and `meta.exchangeTimezoneName`. A day has the time of its opening. While the market is open, the
last element is the newest price and no bar. Prices and volumes are always adjusted for splits, never for dividends.

yfinance fetches the cookie and the crumb that Yahoo wants, and sends requests like a browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from config.process.optional_imports import PANDAS, do_with
from producers import metrics
from producers.exchanges.model import Rate, RefusedError, RestError
from producers.exchanges.parsing import ABSENT, elements, fields, members, text
from producers.rest.bounded import ANSWER_BYTES
from producers.rest.client import check_status
from producers.timestamps import event_time_us
from series.answer import Row
from series.providers.equity_bars import DAY, OtherShapeError, Page, missing_library, window_start
from series.providers.model import Question

NAME = "yahoo"
URL = "https://query2.finance.yahoo.com"
_PATH = "/v8/finance/chart/"
_TIMEOUT_S = 20.0
_VALUES = ("open", "high", "low", "close", "volume")
# 1h and 30m are missing: Yahoo's hours begin with the session at half past nine, and its half hours come as hours.
_FRAMES = {"1m": 60, "5m": 300, "15m": 900, DAY: 86_400}
# Yahoo's error text, with status 400, for a span without a bar.
_NO_BAR = "Data doesn't exist for startDate"
# yfinance has one session a process, so requests run one at a time.
_turn = threading.Lock()


class Yahoo:
    """Implements `Source`. The library sends each request, in a thread, through a session of ours."""

    name = NAME
    frames = tuple(_FRAMES)
    # Our own choice: Yahoo does not document a limit.
    rate = Rate(1, 2.0)
    # An hour less than Yahoo's reach, so that the span is still served when the request arrives.
    most: Mapping[str, timedelta] = {"1m": timedelta(days=7)}
    reach: Mapping[str, timedelta] = {
        "1m": timedelta(days=30, hours=-1),
        "5m": timedelta(days=60, hours=-1),
        "15m": timedelta(days=60, hours=-1),
    }

    def __init__(self, base: str | None = None) -> None:
        """`base`: replaces all of Yahoo's addresses.

        Raises:
            SeriesError: the library is missing.
        """
        do_with(PANDAS)
        try:
            from yfinance.data import YfData  # noqa: PLC0415  # an extra
            from yfinance.exceptions import YFException  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing_library(NAME, error) from error
        self._data, self._failures = YfData, (OSError, YFException)
        self._session = _session(base)
        self._base = (base or URL).rstrip("/")

    async def ask(self, question: Question, start: datetime, end: datetime) -> tuple[str, bytes]:
        """As `Source.ask`."""
        # A trading day east of Greenwich opens the evening before (UTC).
        first = start - timedelta(days=1) if question.frame == DAY else start
        asked = {
            "period1": int(first.timestamp()),
            "period2": int(end.timestamp()),
            "interval": question.frame,
            "includePrePost": "false",
        }
        path = _PATH + quote(question.exchange_symbol)
        body = await asyncio.to_thread(self._get, path, asked)
        return f"{self._base}{path}?{urlencode(asked)}", body

    def _get(self, path: str, asked: Mapping[str, object]) -> bytes:
        try:
            with _turn:
                answer = self._data(session=self._session).get(self._base + path, params=asked, timeout=_TIMEOUT_S)
        except self._failures as error:
            raise RestError(f"{type(error).__name__}: {error}") from error
        body: bytes = answer.content
        if answer.status_code < 500 and _says_no_bar(body):
            return body
        check_status(answer.status_code, answer.headers, path, body)
        return body

    def read(self, body: bytes, question: Question) -> Page:
        """As `Source.read`."""
        if _says_no_bar(body):
            return Page(())
        result = fields(_first(members(fields(msgspec.Raw(body)).get("chart", ABSENT)).get("result", ABSENT)))
        quotes = fields(_first(members(result.get("indicators", ABSENT)).get("quote", ABSENT)))
        # An answer without a bar has neither times nor lists.
        if not quotes and "timestamp" not in result:
            return Page(())
        zone = _zone(text(members(result.get("meta", ABSENT)).get("exchangeTimezoneName", ABSENT)))
        times = [text(time) for time in elements(result.get("timestamp", ABSENT))]
        lists = [elements(quotes.get(name, ABSENT)) for name in _VALUES]
        if any(len(values) != len(times) for values in lists):
            raise OtherShapeError("lists of different lengths")
        rows = [
            _row(time, [text(value) for value in values], question, zone)
            for time, *values in zip(times, *lists, strict=True)
        ]
        if times and question.frame != DAY and _is_between(times[-1], _FRAMES[question.frame]):
            rows.pop()
        return Page([row for row in rows if any(row[name] for name in _VALUES)])

    async def close(self) -> None:
        """As `Source.close`."""
        self._session.close()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # `ZoneInfo` looks a name up as a path, so a strange name may raise any of these.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise OtherShapeError(f"no time zone {name!r}") from error


def _row(time: str, values: list[str], question: Question, zone: ZoneInfo) -> Row:
    start = window_start(time, question.frame, zone)
    return {**question.key, "window_start": start, **dict(zip(_VALUES, values, strict=True))}


def _first(raw: msgspec.Raw) -> msgspec.Raw:
    found = elements(raw)
    if not found:
        raise OtherShapeError("an empty list")
    return found[0]


def _is_between(time: str, seconds: int) -> bool:
    moment = event_time_us(time)
    return moment is not None and moment % (seconds * 1_000_000) != 0


def _says_no_bar(body: bytes) -> bool:
    try:
        chart = members(fields(msgspec.Raw(body)).get("chart", ABSENT))
        return text(members(chart.get("error", ABSENT)).get("description", ABSENT)).startswith(_NO_BAR)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _session(base: str | None) -> Any:
    """A session that Yahoo takes for a browser. It raises RestError if Yahoo asks for a pause, before yfinance retries.

    An answer is at most `ANSWER_BYTES` long.
    """
    from curl_cffi import CurlOpt  # noqa: PLC0415  # the extra `equities` has it
    from curl_cffi.requests import Session  # noqa: PLC0415

    class BrowserSession(Session):  # type: ignore[misc]  # the library is not read by mypy
        def request(self, method: str, url: str, **options: Any) -> Any:
            parts = urlsplit(url)
            if base is not None:
                there = urlsplit(base)
                url = parts._replace(scheme=there.scheme, netloc=there.netloc).geturl()
            answer = super().request(method, url, **options)
            metrics.REST_REQUESTS.labels(NAME, str(answer.status_code)).inc()
            if _PATH in parts.path:
                # After any other refusal yfinance repeats the request with another cookie.
                with contextlib.suppress(RefusedError):
                    check_status(answer.status_code, answer.headers, parts.path, answer.content)
            return answer

    return BrowserSession(impersonate="chrome", curl_options={CurlOpt.MAXFILESIZE_LARGE: ANSWER_BYTES})
