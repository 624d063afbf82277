"""Slices of cold tables, the units that a commit replaces: ids, times and Iceberg predicates (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, LessThan

from config.valid_times import EARLIEST, END
from offload.tables.cold_tables import ColdTable

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
# A row is stamped before its insert becomes visible. This long after an hour no insert of it should be under way.
GRACE_US = 120 * SECOND_US


@dataclass(frozen=True, order=True)
class Slice:
    """A span [from_us, to_us) (µs, UTC): an arrival hour, or a Gold partition of the exchange `key`."""

    from_us: int
    to_us: int
    key: str = ""

    @property
    def id(self) -> str:
        """`2026-11-21T06`, or `binance/2026-11-21`: part of file names, snapshot summaries and properties."""
        start = datetime.fromtimestamp(self.from_us // SECOND_US, UTC)
        return f"{self.key}/{start:%Y-%m-%d}" if self.key else f"{start:%Y-%m-%dT%H}"

    def over(self, now_us: int) -> bool:
        """Whether the slice has ended and no insert of its rows should be under way."""
        return now_us >= self.to_us + GRACE_US

    def predicate(self, table: ColdTable) -> BooleanExpression:
        """The rows of `table` that belong to the slice."""
        span = self.between(table.arrival or table.partition_time)
        return And(span, EqualTo("exchange", self.key)) if self.key else span  # type: ignore[call-arg, arg-type]

    def between(self, column: str) -> BooleanExpression:
        """The rows of any exchange whose time `column` lies in the span."""
        # pyiceberg accepts plain names and values here, although its annotations do not.
        return And(
            GreaterThanOrEqual(column, instant(self.from_us).isoformat()),  # type: ignore[call-arg, arg-type]
            LessThan(column, instant(self.to_us).isoformat()),  # type: ignore[call-arg, arg-type]
        )


def instant(us: int) -> datetime:
    """The UTC time of a number of µs since the epoch, exact."""
    seconds, rest = divmod(us, SECOND_US)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def micros(moment: datetime) -> int:
    """µs since the epoch of an aware time, exact.

    Raises:
        ValueError: the time has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone: give UTC, for example 2026-11-21T06:00Z")
    whole = moment.astimezone(UTC)
    return int(whole.replace(microsecond=0).timestamp()) * SECOND_US + whole.microsecond


def hour(start_us: int) -> Slice:
    """The arrival hour that begins at `start_us`."""
    return Slice(start_us, start_us + HOUR_US)


def gold_slices(table: ColdTable, touched: Iterable[tuple[str, int]]) -> set[Slice]:
    """The partitions of a Gold table that hold the given (exchange, day in µs)."""
    return {_partition(table, exchange, day_us) for exchange, day_us in touched}


def parse_gold_id(table: ColdTable, slice_id: str) -> Slice:
    """The slice of an id such as `binance/2026-11-21`."""
    exchange, _, day = slice_id.rpartition("/")
    return _partition(table, exchange, micros(datetime.fromisoformat(day).replace(tzinfo=UTC)))


def parse_hour_id(slice_id: str) -> Slice:
    """The slice of an id such as `2026-11-21T06`."""
    return hour(micros(datetime.strptime(slice_id, "%Y-%m-%dT%H").replace(tzinfo=UTC)))


def hot_partition(partition_id: str) -> Slice | None:
    """The day or month (UTC) of a hot partition, from its ClickHouse id: `20261121`, `202611` or `3600-202611`.

    None for a day outside 1970 to 2199. Versions before 0.2 made such partitions of duplicates and dead letters whose
    Kafka timestamps were not in ms.
    """
    period = period_of(partition_id)
    if len(period) not in {6, 8} or not str(EARLIEST.year) <= period[:4] < str(END.year):
        return None
    moment = datetime.strptime(period, "%Y%m%d" if len(period) == 8 else "%Y%m").replace(tzinfo=UTC)
    if len(period) == 8:
        return Slice(micros(moment), micros(moment) + DAY_US)
    return Slice(micros(moment), micros(_next_month(moment)))


def period_of(partition_id: str) -> str:
    """The day or month in the id of a hot partition: `202611` of `3600-202611`."""
    return partition_id.rpartition("-")[2]


def _next_month(first: datetime) -> datetime:
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _partition(table: ColdTable, exchange: str, day_us: int) -> Slice:
    day = instant(day_us)
    if table.period == "day":
        return Slice(day_us, day_us + DAY_US, exchange)
    first = day.replace(day=1)
    return Slice(micros(first), micros(_next_month(first)), exchange)
