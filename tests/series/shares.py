"""Made-up bars of shares, and servers that give them as Polygon, Alpaca and Yahoo document it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from config.settings import Settings
from producers.exchanges.model import Rate
from producers.options import ProducerOptions
from series.declaration import series_named
from series.providers.alpaca import Alpaca
from series.providers.equity_bars import EquityBars, Page, Source
from series.providers.model import Question
from series.providers.polygon import Polygon
from series.providers.yahoo import Yahoo
from tests.series.venue import Query, Reply

NEW_YORK = ZoneInfo("America/New_York")
KEYS = {"polygon_api_key": "secret-1", "alpaca_api_key": "secret-2", "alpaca_secret_key": "secret-3"}
NAMES = ("polygon", "alpaca", "yahoo")
# Bars of an answer of Polygon and Alpaca: two sessions and a part of the third.
PAGE = 260


def provider(name: str, base: str) -> EquityBars:
    """The provider, which asks the server at `base` as fast as it can."""
    return EquityBars(_source(name, base), ProducerOptions(requests=Rate(1_000, 1.0), breaker_open_s=0.2))


@cache
def reader(name: str) -> Callable[[bytes, Question], Page]:
    """How the provider reads an answer."""
    return _source(name, "http://127.0.0.1:1").read


def _source(name: str, base: str) -> Source:
    settings = Settings(**KEYS)  # type: ignore[arg-type]
    made: dict[str, Callable[[], Source]] = {
        "polygon": lambda: Polygon(settings, base),
        "alpaca": lambda: Alpaca(settings, base),
        "yahoo": lambda: Yahoo(base),
    }
    return made[name]()


def question(name: str, symbol: str, start: datetime, end: datetime, frame: str = "1m") -> Question:
    return Question(series_named("bars"), start, end, name, symbol, symbol, frame)


@dataclass(frozen=True)
class Bar:
    """A bar as texts of JSON. `start`: UTC."""

    start: datetime
    open: str
    high: str
    low: str
    close: str
    volume: str
    trades: str

    @property
    def seconds(self) -> int:
        return int(self.start.timestamp())


def session(day: date) -> list[Bar]:
    """The bars of the first two hours of trading in New York; each 7th minute nothing is traded."""
    opening = datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK).astimezone(UTC)
    starts = [opening + timedelta(minutes=number) for number in range(120)]
    return [bar(start, number) for number, start in enumerate(starts) if number % 7 != 6]


def bar(start: datetime, number: int = 0) -> Bar:
    # Digits as exchanges write them, and as floats are written.
    low, high = f"{220 + number % 10}.05000305175", f"{230 + number % 10}.1"
    return Bar(start, low, high, low, f"{high}0", f"{1_000 + number}", f"{10 + number}")


@dataclass
class Market:
    """A provider's server. `bars`: by symbol. `odd`: what it says of a symbol in the place of an answer.

    `zone`: of the exchange, which Yahoo names.
    """

    name: str
    bars: Mapping[str, Sequence[Bar]]
    odd: Mapping[str, Callable[[], Reply | None]] = field(default_factory=dict)
    zone: ZoneInfo = NEW_YORK
    asked: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def __call__(self, path: str, query: Query, headers: Mapping[str, str]) -> Reply:
        if self.name == "yahoo" and not path.startswith("/v8/finance/chart/"):
            return Reply(b"the-crumb", kind="text/plain")
        self.keys.add(headers.get("Authorization") or headers.get("APCA-API-SECRET-KEY") or query.get("crumb", ""))
        symbol = query.get("symbols") or path.split("/")[4]
        self.asked.append(symbol)
        if symbol in self.odd and (reply := self.odd[symbol]()) is not None:
            return reply
        said = {"polygon": self._polygon, "alpaca": self._alpaca, "yahoo": self._yahoo}[self.name](symbol, path, query)
        return Reply(said.encode())

    def _page(self, symbol: str, start: float, end: float) -> tuple[list[Bar], bool]:
        found = [one for one in self.bars[symbol] if start <= one.seconds <= end]
        return found[:PAGE], len(found) > PAGE

    def _polygon(self, symbol: str, path: str, query: Query) -> str:
        assert (query["adjusted"], query["sort"]) == ("false", "asc")
        span = [_moment(part) for part in path.split("/")[-2:]]
        is_day = path.split("/")[-3] == "day"
        found, more = self._page(symbol, span[0], span[1] + (86_399 if is_day else 0))
        said = {"ticker": symbol, "adjusted": False, "resultsCount": len(found), "status": "OK"}
        if not found:
            return json.dumps(said)
        bars = ",".join(
            f'{{"v":{one.volume},"vw":1.5,"o":{one.open},"c":{one.close},"h":{one.high},"l":{one.low},'
            f'"t":{one.seconds}000,"n":{one.trades}}}'
            for one in found
        )
        further = ',"next_url":"https://elsewhere/?cursor=x"' if more else ""
        return f'{json.dumps(said)[:-1]},"results":[{bars}]{further}}}'

    def _alpaca(self, symbol: str, _path: str, query: Query) -> str:
        assert (query["adjustment"], query["feed"]) == ("raw", "sip")
        span = [datetime.fromisoformat(query[name]).timestamp() for name in ("start", "end")]
        found, more = self._page(symbol, *span)
        bars = ",".join(
            f'{{"c":{one.close},"h":{one.high},"l":{one.low},"n":{one.trades},"o":{one.open},'
            f'"t":"{one.start:%Y-%m-%dT%H:%M:%SZ}","v":{one.volume},"vw":1.5}}'
            for one in found
        )
        own = f'"{symbol}":[{bars}]' if found else ""
        return f'{{"bars":{{{own}}},"next_page_token":{json.dumps("x" if more else None)}}}'

    def _yahoo(self, symbol: str, _path: str, query: Query) -> str:
        first, end = int(query["period1"]), int(query["period2"])
        found = [one for one in self.bars[symbol] if first <= one.seconds < end]
        meta = f'"meta":{{"currency":"USD","exchangeTimezoneName":"{self.zone.key}"}}'
        if not found:
            return f'{{"chart":{{"result":[{{{meta},"indicators":{{"quote":[{{}}]}}}}],"error":null}}}}'
        lists = ",".join(
            f'"{name}":[{",".join(getattr(one, name) for one in found)}]'
            for name in ("open", "high", "low", "close", "volume")
        )
        times = ",".join(str(one.seconds) for one in found)
        result = f'{{{meta},"timestamp":[{times}],"indicators":{{"quote":[{{{lists}}}]}}}}'
        return f'{{"chart":{{"result":[{result}],"error":null}}}}'


def _moment(part: str) -> float:
    if part.isdigit():
        return int(part) / 1_000
    return datetime.fromisoformat(part).replace(tzinfo=NEW_YORK).timestamp()
