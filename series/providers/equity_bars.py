"""Asks any provider of shares for bars: oldest first, page by page.

A minute without a trade has no bar. Outside the sessions there are no bars.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from producers.exchanges.model import Rate
from producers.exchanges.parsing import ABSENT, members, text, token
from producers.options import ProducerOptions
from producers.timestamps import event_time_us, now_us
from producers.venue_limits import VenueLimits
from series.answer import UNREADABLE, Answer, Row
from series.errors import SeriesError
from series.providers.asking import defect_of, retry_while_busy
from series.providers.model import ProviderError, Question

DAY = "1d"
NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The errors of a JSON parser when the answer has another shape.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class OtherShapeError(msgspec.DecodeError):
    """An answer lacks a part that the provider documents."""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of an answer. `rows`: oldest first. `has_more`: the span has more bars after the last row."""

    rows: Sequence[Row]
    has_more: bool = False


class Source(Protocol):
    """A provider of equity bars."""

    @property
    def name(self) -> str:
        """The name of the provider, which is also the exchange code of its bars."""

    @property
    def rate(self) -> Rate:
        """The rate limit of its requests."""

    @property
    def frames(self) -> Collection[str]:
        """The frames whose bars begin at a multiple of their length. It has bars of these only."""

    @property
    def most(self) -> Mapping[str, timedelta]:
        """The longest span of a request, by frame; a frame that is missing has no limit."""

    @property
    def reach(self) -> Mapping[str, timedelta]:
        """How far back from now bars are served, by frame; a frame that is missing has no limit."""

    async def ask(self, question: Question, start: datetime, end: datetime) -> tuple[str, bytes]:
        """Ask for the bars that begin in [start, end) (UTC). The answer may have bars before and after the span.

        Returns:
            The address without keys, and the body of the answer.

        Raises:
            RestError, aiohttp.ClientError, TimeoutError: the provider does not answer, or refuses.
        """

    def read(self, body: bytes, question: Question) -> Page:
        """The content of an answer.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError, RecursionError: the answer is no JSON, or has another shape.
        """

    async def close(self) -> None:
        """Close the connections."""


class EquityBars:
    """Asks one source, several questions at a time, within its rate."""

    def __init__(self, source: Source, options: ProducerOptions | None = None) -> None:
        """`close` also closes `source`."""
        options = options or ProducerOptions()
        rate = options.requests or source.rate
        self._source = source
        self._limits = VenueLimits(
            source.name, rate, rate, failures=options.breaker_failures, open_s=options.breaker_open_s
        )

    async def close(self) -> None:
        """As `Provider.close`."""
        await self._source.close()

    async def answers(self, question: Question) -> AsyncIterator[Answer]:
        """As `Provider.answers`."""
        source, frame = self._source, question.frame
        if question.exchange != source.name:
            raise SeriesError(f"{source.name} has no bars of {question.exchange}: its exchange code is {source.name}")
        if frame not in source.frames:
            raise SeriesError(f"{source.name} has no bars of {frame}: give a frame of {', '.join(source.frames)}")
        length = timedelta(seconds=question.series.frames[frame])
        served = datetime.now(UTC) - source.reach[frame] if frame in source.reach else question.start
        start = max(question.start, served)
        start -= (start - _EPOCH) % length
        while start < question.end:
            end = min(question.end, start + source.most[frame]) if frame in source.most else question.end
            address, body = await retry_while_busy(source.name, partial(self._ask, question, start, end))
            received_us = now_us()
            page, defect = self._read(body, question)
            yield Answer(source.name, address, received_us, body, page.rows, defect)
            if defect:
                # The next run asks for this part again.
                return
            start = _after(page, received_us, start, length, question) if page.has_more else end
        if question.start < served:
            raise ProviderError(
                f"{source.name} serves bars of {frame} from {served:%Y-%m-%d %H:%M} on only: it has none from"
                f" {question.start:%Y-%m-%d %H:%M} until then; give a later --from, or another --provider"
            )

    async def _ask(self, question: Question, start: datetime, end: datetime) -> tuple[str, bytes]:
        async with self._limits.requesting():
            return await self._source.ask(question, start, end)

    def _read(self, body: bytes, question: Question) -> tuple[Page, str]:
        try:
            return self._source.read(body, question), ""
        except _UNREADABLE:
            return Page(()), defect_of(body)


def _after(page: Page, received_us: int, start: datetime, length: timedelta, question: Question) -> datetime:
    """The start of the next page. Rows with a time in the future do not count."""
    times = [event_time_us(row.get("window_start", "")) or 0 for row in page.rows]
    newest = max((time for time in times if time <= received_us), default=0)
    after = _EPOCH + timedelta(microseconds=newest) + length
    if after <= start:
        raise ProviderError(f"{question.name}: nothing usable comes after {start:%Y-%m-%d %H:%M:%S}; run again later")
    return after


def rows_of(bars: Sequence[Raw], places: Mapping[str, str], question: Question) -> list[Row]:
    """The rows of bars that are JSON objects. `places`: the member of each column. Numbers keep their characters."""
    return [_row(bar, places, question) for bar in bars]


def _row(bar: Raw, places: Mapping[str, str], question: Question) -> Row:
    values = members(bar)
    row = {column: text(values.get(member, ABSENT)) for column, member in places.items()}
    if not any(row.values()):
        return {UNREADABLE: token(bar)}
    return {**question.key, **row, "window_start": window_start(row["window_start"], question.frame, NEW_YORK)}


def window_start(time: str, frame: str, zone: ZoneInfo) -> str:
    """The start of a row's window as text: `time` itself, or of a day the UTC midnight of the trading day.

    Providers give a trading day different times: midnight, or the opening, in the exchange's time zone.
    """
    moment = event_time_us(time) if frame == DAY else None
    if moment is None:
        return time
    try:
        return f"{(_EPOCH + timedelta(microseconds=moment)).astimezone(zone):%Y-%m-%d}T00:00:00Z"
    except OverflowError:
        return time


def missing_library(provider: str, error: ModuleNotFoundError) -> SeriesError:
    """The error when the client library of a provider cannot be imported."""
    return SeriesError(
        f"{provider} needs its client library ({error}): install the extra medallion[equities], from a checkout by"
        " `.venv/bin/pip install --require-hashes -r requirements-equities.txt`"
    )


def missing_key(provider: str, *variables: str) -> SeriesError:
    """The error when the settings have no key of a provider."""
    files = " and ".join(f"{name}_FILE" for name in variables)
    return SeriesError(
        f"{provider} needs an API key: set {' and '.join(variables)}, or {files} to the path of its file"
    )
