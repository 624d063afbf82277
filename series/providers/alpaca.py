"""Bars of US shares from Alpaca, through its client library `alpaca-py`.

GET /v2/stocks/bars (docs.alpaca.markets, "Historical bars"): `bars` has a list for each symbol, of a bar for each
period with a trade, oldest first: `t` (RFC 3339, start), `o`, `h`, `l`, `c`, `v`, `n` (trades); `next_page_token` where
the span has more, else null. A day begins at midnight in New York. `adjustment=raw`: prices as they were traded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from config.process.optional_imports import PANDAS, do_with
from config.settings import Settings
from producers.exchanges.model import Rate
from producers.exchanges.parsing import ABSENT, elements, fields, members, text
from series.providers.asking import HttpSession
from series.providers.equity_bars import DAY, OtherShapeError, Page, missing_key, missing_library, rows_of
from series.providers.model import Question

NAME = "alpaca"
# Amount and name of the unit.
_FRAMES = {
    "1m": (1, "Minute"),
    "3m": (3, "Minute"),
    "5m": (5, "Minute"),
    "15m": (15, "Minute"),
    "30m": (30, "Minute"),
    "1h": (1, "Hour"),
    DAY: (1, "Day"),
}
_PLACES = {
    "window_start": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trade_count": "n",
}  # fmt: skip


class Alpaca:
    """Implements `Source`. The library builds each request (address, parameters, keys); our own session sends it."""

    name = NAME
    frames = tuple(_FRAMES)
    most: Mapping[str, timedelta] = {}
    reach: Mapping[str, timedelta] = {}

    def __init__(self, settings: Settings, base: str | None = None) -> None:
        """`base`: replaces the address.

        Raises:
            SeriesError: a key or the library is missing.
        """
        keys = settings.alpaca_api_key.get_secret_value(), settings.alpaca_secret_key.get_secret_value()
        if not all(keys):
            raise missing_key(NAME, "MEDALLION_ALPACA_API_KEY", "MEDALLION_ALPACA_SECRET_KEY")
        self.rate = Rate(1, 60 / settings.alpaca_requests_per_minute)
        self._feed = settings.alpaca_feed
        self._client = _client(*keys, base)
        self._session = HttpSession(NAME)

    async def ask(self, question: Question, start: datetime, end: datetime) -> tuple[str, bytes]:
        """As `Source.ask`."""
        from alpaca.data.enums import Adjustment, DataFeed  # noqa: PLC0415  # an extra
        from alpaca.data.requests import StockBarsRequest  # noqa: PLC0415
        from alpaca.data.timeframe import TimeFrame, TimeFrameUnit  # noqa: PLC0415

        amount, unit = _FRAMES[question.frame]
        request = StockBarsRequest(
            symbol_or_symbols=question.exchange_symbol,
            start=start,
            end=end - timedelta(microseconds=1),
            timeframe=TimeFrame(amount, TimeFrameUnit[unit]),
            adjustment=Adjustment.RAW,
            feed=DataFeed(self._feed),
        )
        self._client.get_stock_bars(request)
        address, headers = self._client.request
        return address, await self._session.get(address, headers)

    def read(self, body: bytes, question: Question) -> Page:
        """As `Source.read`."""
        answer = fields(msgspec.Raw(body))
        if "bars" not in answer:
            raise OtherShapeError("no bars")
        of_symbol = members(answer["bars"]).get(question.exchange_symbol, ABSENT)
        bars = elements(of_symbol) if text(of_symbol) else []
        return Page(rows_of(bars, _PLACES, question), bool(text(answer.get("next_page_token", ABSENT))))

    async def close(self) -> None:
        """As `Source.close`."""
        await self._session.close()


def _client(key: str, secret: str, base: str | None) -> Any:
    """A client of the library that keeps its last request instead of sending it.

    If the library sent its requests, it would hide `Retry-After`, make its own pauses, ask for all pages at once, and
    take answers of any size.
    """
    do_with(PANDAS)
    try:
        from alpaca.common.enums import BaseURL  # noqa: PLC0415  # an extra
        from alpaca.data.historical.stock import StockHistoricalDataClient  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_library(NAME, error) from error
    address = (base or BaseURL.DATA.value).rstrip("/")

    class Client(StockHistoricalDataClient):  # type: ignore[misc]  # the library is not read by mypy
        """`request`: address and headers of the last request."""

        request: tuple[str, dict[str, str]]

        def get(self, path: str, data: dict[str, Any], **_: Any) -> dict[str, Any]:
            """As the library's. It returns an answer without bars and without another page."""
            query = {name: str(getattr(value, "value", value)) for name, value in data.items() if value is not None}
            self.request = (f"{address}/{self._api_version}{path}?{urlencode(query)}", self._get_default_headers())
            return {"bars": {}}

    return Client(key, secret, raw_data=True, url_override=address)
