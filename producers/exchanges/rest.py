"""Trades over an exchange's REST interface: what is asked, and in which direction its pages go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from producers.exchanges.model import Rate, Trade


class RestError(RuntimeError):
    """The exchange answered something else than trades."""


class Pages(Enum):
    """How to get at more trades than one answer holds."""

    FORWARD = "from old to new"
    BACKWARD = "from new to old"
    NONE = "only the newest trades are served"


@dataclass(frozen=True, slots=True)
class Span:
    """The trades wanted: ids `first` to `last`, both included, none of them older than `since_us` (µs, UTC)."""

    first: int
    last: int
    since_us: int


@dataclass(frozen=True, slots=True)
class Rest:
    """`request` gives path and query below `url`, `newest` those of the newest trades; `parse` an answer's trades,
    oldest first.

    `parse` raises RestError, or msgspec.DecodeError, for an answer that holds no list of trades. `key_variable` names
    the environment variable of the API key that `request` wants in `key_header`; "" for a public interface. `newest`
    needs none. `reach_s`: how far back the exchange says that trades are served; 0: all of them. `by_time`: `request`
    honours a span's time, not its ids. A full answer holds `page` trades.
    `headers_beside` are sent to get times in the unit of the stream at a URL.
    """

    url: str
    rate: Rate
    pages: Pages
    request: Callable[[str, Span], str]
    newest: Callable[[str], str]
    parse: Callable[[str, bytes], list[Trade]]
    key_header: str = ""
    key_variable: str = ""
    reach_s: float = 0.0
    by_time: bool = False
    page: int = 1_000
    headers_beside: Callable[[str], Mapping[str, str]] = lambda _stream_url: {}
