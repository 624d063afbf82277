"""The Crypto Fear & Greed Index of alternative.me, a value a day.

`GET /fng/?limit=N&format=json` gives the newest N days, newest first, 0: all of them. Each has `value`,
`value_classification` and `timestamp` (s) as texts (alternative.me/crypto/fear-and-greed-index, "API": 60 requests a
minute over a window of 10 minutes).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import msgspec

from producers.exchanges.model import Rate
from producers.exchanges.parsing import ABSENT, elements, fields, members, text, token
from producers.options import ProducerOptions
from producers.timestamps import now_us
from producers.venue_limits import VenueLimits
from series.answer import UNREADABLE, Answer, Row
from series.providers.asking import HttpSession, defect_of, retry_while_busy
from series.providers.model import Question

URL = "https://api.alternative.me"
_RATE = Rate(60, 60.0)
_PLACES = {"day": "timestamp", "value": "value", "classification": "value_classification"}


class AlternativeMe:
    """Asks alternative.me for the series `fear_greed`."""

    name = "alternative_me"

    def __init__(self, base: str | None = None, options: ProducerOptions | None = None) -> None:
        """`base`: replaces the address."""
        options = options or ProducerOptions()
        rate = options.requests or _RATE
        self._base = base or URL
        self._limits = VenueLimits(
            self.name, rate, rate, failures=options.breaker_failures, open_s=options.breaker_open_s
        )
        self._session = HttpSession(self.name)

    async def close(self) -> None:
        """As `Provider.close`."""
        await self._session.close()

    async def answers(self, question: Question) -> AsyncIterator[Answer]:
        """As `Provider.answers`, in one answer."""
        days = math.ceil((datetime.now(UTC) - question.start).total_seconds() / 86_400) + 1
        url = f"{self._base.rstrip('/')}/fng/?limit={max(days, 1)}&format=json"
        body = await retry_while_busy(self.name, lambda: self._ask(url))
        rows, defect = rows_of(body)
        yield Answer(self.name, url, now_us(), body, rows, defect)

    async def _ask(self, url: str) -> bytes:
        async with self._limits.requesting():
            return await self._session.get(url)


def rows_of(body: bytes) -> tuple[list[Row], str]:
    """The rows of an answer, oldest first, and its defect ("": none)."""
    try:
        data = fields(msgspec.Raw(body)).get("data", ABSENT)
        newest_first = [_row(element) for element in elements(data)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [], defect_of(body)
    return newest_first[::-1], ""


def _row(element: msgspec.Raw) -> Row:
    members_of: Mapping[str, msgspec.Raw] = members(element)
    row = {column: text(members_of.get(name, ABSENT)) for column, name in _PLACES.items()}
    return row if any(row.values()) else {UNREADABLE: token(element)}
