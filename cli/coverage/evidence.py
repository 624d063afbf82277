"""Collects what ClickHouse, the backfill checkpoint and the registry know of each market."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.common.statements import http_client, rows
from cli.coverage.series import SeriesDay, SeriesEvidence, series_verdicts
from cli.coverage.trades import KnownGap, StoredDay, TradesEvidence, trades_verdicts
from cli.coverage.verdicts import COMPLETE, NOT_EXPECTED, CoverageDay, days_between
from config.registry import Entry, SymbolRegistry
from config.settings import Settings
from config.valid_times import END
from producers.backfill.done import Filled, filled
from producers.exchanges import REGISTRY
from series.declaration import series_named
from series.schedules.declaration import SeriesSchedule

if TYPE_CHECKING:
    from clickhouse_connect.driver import Client

_EPOCH = date(1970, 1, 1)

# Exchange code and canonical symbol.
Market = tuple[str, str]
# Series, exchange code, canonical symbol and frame.
SeriesKey = tuple[str, str, str, str]
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        exchange: its code; "" for every exchange.
        symbols: canonical symbols; none for every market with known days.
        since: first day; None: for each market its first known day.
        until: the day after the last one; None: today is the last one.
    """

    exchange: str = ""
    symbols: Sequence[str] = ()
    since: date | None = None
    until: date | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """For the statements."""
        since, until = self.since or _EPOCH, self.until or END.date()
        return {
            "exchange": self.exchange,
            "symbols": [*self.symbols],
            "since": f"{since} 00:00:00",
            "until": f"{until} 00:00:00",
        }

    def days(self, known: Collection[date], today: date) -> list[date]:
        """The days to look at, of a market of which these days are known. None of them is after today."""
        first = self.since or min((day for day in known if day > _EPOCH), default=today + timedelta(days=1))
        last = min(self.until - timedelta(days=1), today) if self.until else today
        return days_between(first, last)


@dataclass(frozen=True, slots=True)
class _Names:
    """The registry by market."""

    entries: dict[Market, Entry] = field(default_factory=dict)
    canonical: dict[Market, str] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: SymbolRegistry) -> _Names:
        found = cls()
        for exchange, markets in registry.content.exchanges.items():
            for symbol, entry in markets.items():
                found.entries[exchange, entry.canonical] = entry
                found.canonical.update({(exchange, name): entry.canonical for name in (symbol, *entry.aliases)})
        return found

    def market(self, exchange: str, own_name: str) -> Market:
        """A market that is not in the registry keeps the exchange's name, as it does in producer_gaps."""
        return exchange, self.canonical.get((exchange, own_name), own_name)


def canonical_symbols(registry: SymbolRegistry, exchange: str, name: str) -> list[str]:
    """The canonical symbols of a market by any of its names, on one exchange or ("") on every one."""
    found = {
        entry.canonical
        for code, markets in registry.content.exchanges.items()
        for symbol, entry in markets.items()
        if exchange in {"", code} and name in {symbol, *entry.aliases, entry.canonical}
    }
    return sorted(found)


def read_trades(
    settings: Settings, registry: SymbolRegistry, steps: Mapping[str, Mapping[str, Any]], asked: Asked
) -> list[CoverageDay]:
    """The verdicts on the trades of each market and day.

    Args:
        settings: of the stack.
        registry: its symbols.
        steps: the checkpoint's.
        asked: which.

    Raises:
        ServerError: ClickHouse does not answer, or refuses.
    """
    names = _Names.of(registry)
    asked_for = asked.parameters
    with http_client(settings) as client:
        markets = _markets(client, asked)
        around = {day for row in markets for day in (row["day_before"], row["day_after"]) if day > _EPOCH}
        numbers = [int(f"{day:%Y%m%d}") for day in around]
        days = rows(client, "days", _table(client) | asked_for | {"around": numbers})
        gaps = rows(client, "gaps", asked_for)
        dead_letters = rows(client, "dead_letters", asked_for)
    read = [one for one in filled(steps) if asked.exchange in {"", one.exchange}]
    found = [*_evidence(names, asked, markets, days, gaps, dead_letters, read)]
    today = datetime.now(UTC).date()
    return [day for one in found for day in trades_verdicts(one, asked.days(_known(one), today), today)]


def read_series(
    settings: Settings, registry: SymbolRegistry, scheduled: Sequence[SeriesSchedule], asked: Asked
) -> list[CoverageDay]:
    """The verdicts on each series of each market and day: of what is stored, was rejected, or is `scheduled`.

    Raises:
        ServerError: as `read_trades`.
    """
    names = _Names.of(registry)
    with http_client(settings) as client:
        found = rows(client, "series", asked.parameters)
    today = datetime.now(UTC).date()
    begins = _begins(names, scheduled, asked)
    kinds: dict[SeriesKey, dict[date, SeriesDay]] = {key: {} for key in begins}
    for row in found:
        own = kinds.setdefault((row["series"], row["exchange"], row["symbol"], row["frame"]), {})
        own[row["day"]] = SeriesDay(row["periods"], row["expected"], row["rejected"], tuple(row["providers"]))
    verdicts = []
    for key, days in kinds.items():
        in_sessions = key[1] in series_named(key[0]).in_sessions
        evidence = SeriesEvidence(*key, days, names.entries.get(key[1:3]), in_sessions)
        verdicts += series_verdicts(evidence, asked.days({*days} | begins.get(key, set()), today), today)
    return verdicts


def _begins(names: _Names, scheduled: Sequence[SeriesSchedule], asked: Asked) -> dict[SeriesKey, set[date]]:
    """The days at which schedules begin, of the markets that are asked for."""
    found: dict[SeriesKey, set[date]] = {}
    for one in scheduled:
        places = [(exchange, own) for exchange, symbols in one.instruments.items() for own in symbols]
        for exchange, symbol in (names.market(*place) for place in places or [("", "")]):
            if asked.exchange in {"", exchange} and (not asked.symbols or symbol in asked.symbols):
                found.setdefault((one.series, exchange, symbol, one.frame), set()).add(one.start.date())
    return found


@dataclass(frozen=True, slots=True)
class StoredTrades:
    """The trades of a market that are stored: how many, and the times (UTC) of the first and the last one."""

    trades: int
    first_trade: datetime
    last_trade: datetime


def read_stored_trades(settings: Settings) -> dict[Market, StoredTrades]:
    """What is stored of each market's trades, hot and cold.

    Raises:
        ServerError: as `read_trades`.
    """
    with http_client(settings) as client:
        found = _markets(client, Asked())
    return {
        (row["exchange"], row["symbol"]): StoredTrades(row["trades"], row["first_trade"], row["last_trade"])
        for row in found
    }


def read_stored_names(settings: Settings) -> dict[tuple[str, str, str], StoredTrades]:
    """What is stored, hot and cold, by exchange code, the exchange's own symbol and the canonical name in Silver.

    Raises:
        ServerError: as `read_trades`.
    """
    with http_client(settings) as client:
        found = rows(client, "names", _table(client))
    return {
        (row["exchange"], row["exchange_symbol"], row["symbol"]): StoredTrades(
            row["trades"], row["first_trade"], row["last_trade"]
        )
        for row in found
    }


def days_lacking_nothing(
    settings: Settings,
    registry: SymbolRegistry,
    steps: Mapping[str, Mapping[str, Any]],
    exchange: str,
    own_names: Sequence[str],
    start: datetime,
    end: datetime,
) -> dict[str, set[date]]:
    """The days of [start, end) whose trades are complete or not expected, by the exchange's own symbol.

    Raises:
        ServerError: as `read_trades`.
    """
    names = _Names.of(registry)
    symbols = {own: names.market(exchange, own)[1] for own in own_names}
    until = (end - timedelta(microseconds=1)).date() + timedelta(days=1)
    asked = Asked(exchange, sorted(set(symbols.values())), start.date(), until)
    found = [one for one in read_trades(settings, registry, steps, asked) if one.status in {COMPLETE, NOT_EXPECTED}]
    return {own: {one.day for one in found if one.symbol == symbol} for own, symbol in symbols.items()}


def days_that_left(settings: Settings, first: date, last: date) -> list[date]:
    """The UTC days from `first` to `last`, both included, whose Silver has left ClickHouse for Iceberg.

    Raises:
        ServerError: ClickHouse does not answer.
    """
    with http_client(settings) as client:
        found = rows(client, "left_days", {"since": int(f"{first:%Y%m%d}"), "until": int(f"{last:%Y%m%d}")})
    return [row["day"] for row in found]


def _table(client: Client) -> dict[str, object]:
    return {"trades": rows(client, "hot_and_cold", {"view": "silver_trades"})[0]["name"]}


def _markets(client: Client, asked: Asked) -> Rows:
    return rows(client, "markets", _table(client) | asked.parameters)


def _evidence(
    names: _Names, asked: Asked, markets: Rows, days: Rows, gaps: Rows, dead_letters: Rows, read: Sequence[Filled]
) -> Iterator[TradesEvidence]:
    ends = {(row["exchange"], row["symbol"]): row for row in markets}
    stored: dict[Market, dict[date, StoredDay]] = {}
    for row in days:
        stored.setdefault((row["exchange"], row["symbol"]), {})[row["day"]] = _stored_day(row)
    known_gaps: dict[Market, list[KnownGap]] = {}
    for row in gaps:
        gap = KnownGap(row["state"], row["has_ids"], row["first_day"], row["last_day"], row["description"])
        known_gaps.setdefault((row["exchange"], row["symbol"]), []).append(gap)
    rejected: dict[Market, dict[date, dict[str, int]]] = {}
    for row in dead_letters:
        if (market := names.market(row["exchange"], row["symbol"])) in names.entries:
            of_day = rejected.setdefault(market, {}).setdefault(row["day"], {})
            of_day[row["reason"]] = of_day.get(row["reason"], 0) + row["dead_letters"]
    spans: dict[Market, list[Filled]] = {}
    for one in read:
        spans.setdefault(names.market(one.exchange, one.symbol), []).append(one)
    named = {market for market in names.entries if market[1] in asked.symbols and asked.exchange in {"", market[0]}}
    for market in sorted({*ends, *known_gaps, *rejected, *spans, *named}):
        exchange, symbol = market
        if asked.symbols and symbol not in asked.symbols:
            continue
        known = REGISTRY.get(exchange)
        yield TradesEvidence(
            exchange,
            symbol,
            stored.get(market, {}),
            ends[market]["first_trade"].date() if market in ends else None,
            ends[market]["last_trade"].date() if market in ends else None,
            known_gaps.get(market, []),
            rejected.get(market, {}),
            spans.get(market, []),
            names.entries.get(market),
            has_order=known is not None and known.ids_of is not None,
            has_placeholders=known is not None and known.has_placeholders,
        )


def _stored_day(row: Mapping[str, Any]) -> StoredDay:
    first, last = (None, None) if row["without_number"] else (row["first_id"], row["last_id"])
    return StoredDay(row["trades"], row["ids"], first, last, row["live"], row["repeated"])


def _known(evidence: TradesEvidence) -> set[date]:
    """The known days. If there are none, those of dead letters, whose times may be wrong."""
    days = {gap.first_day for gap in evidence.gaps} | {*([evidence.oldest] if evidence.oldest else [])}
    days |= {datetime.fromtimestamp(one.start_us / 1e6, UTC).date() for one in evidence.filled}
    return days or {*evidence.dead_letters}
