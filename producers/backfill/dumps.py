"""Binance's public trade dumps (data.binance.vision): a zipped CSV for each symbol and day, in a folder or at a URL.

Columns: id, price, qty, quote qty, time, is buyer maker[, is best match]; futures have a header line. Times are in
ms, on spot from 2025-01-01 on in µs. They are published unchanged, as on the stream.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import msgspec

from producers import metrics
from producers.backfill import dump_files
from producers.backfill.dump_content import DumpError, DumpFile
from producers.backfill.dump_files import MARKETS, URL, Source
from producers.exchanges.model import PLACEHOLDER, id_number, is_placeholder
from producers.gaps.id_ranges import TimedRange, TimedRanges
from producers.kafka.envelope import Envelope
from producers.timestamps import event_time_us, now_us

__all__ = ["MARKETS", "URL", "Day", "DumpContents", "DumpError", "TimeSpan", "inspect", "markets", "messages", "opened"]

_SIDE_OF_BUYER_IS_MAKER = {"true": "SELL", "false": "BUY"}
# The exchange's names of the columns, in order.
_NAMES = (
    {"id", "trade_id"},
    {"price"},
    {"qty", "quantity"},
    {"quote_qty", "quoteqty", "base_qty", "baseqty"},
    {"time", "timestamp"},
    {"is_buyer_maker", "isbuyermaker"},
    {"is_best_match", "isbestmatch"},
)
_ALL_NAMES = frozenset().union(*_NAMES)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# A file whose ids form more runs than this does not hold the trades of a day.
_MOST_RUNS = 100_000
_DAY_US = 86_400_000_000

# Start (included) and end (excluded), µs (UTC).
TimeSpan = tuple[int, int]


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """All trades of a symbol on a UTC day."""

    exchange: str
    symbol: str
    date: date

    @property
    def name(self) -> str:
        """The day's name in reports and in the checkpoint."""
        return f"{self.exchange}/{self.symbol}/{self.date}"

    @property
    def stem(self) -> str:
        """The name of the day's file, without suffix."""
        return f"{self.symbol}-trades-{self.date}"

    @property
    def market(self) -> str:
        """The folder of the market in Binance's tree."""
        return MARKETS[self.exchange]

    @property
    def folder(self) -> str:
        """The folder of the symbol's files, below the market's."""
        return f"daily/trades/{self.symbol}"

    @property
    def span_us(self) -> TimeSpan:
        """The span of the whole day."""
        start = int(datetime(self.date.year, self.date.month, self.date.day, tzinfo=UTC).timestamp()) * 1_000_000
        return start, start + _DAY_US

    def later(self, days: int) -> Day:
        """The day that many days later."""
        return Day(self.exchange, self.symbol, self.date + timedelta(days=days))


@dataclass(slots=True)
class DumpContents:
    """The content of a whole file. `runs`: the ids of the trades in the requested span.

    `rows`: all rows without headers and blank lines. Of these, `dead` are no trades, `placeholders` are ids without a
    trade, and `repeated` have the id of an earlier row. `trades`: the trades of the span. `before`, `after`: the day's
    last id before the span and its first id after it.
    """

    rows: int = 0
    trades: int = 0
    dead: int = 0
    placeholders: int = 0
    repeated: int = 0
    runs: TimedRanges = field(default_factory=TimedRanges)
    before: TimedRange | None = None
    after: TimedRange | None = None

    def note_outside(self, number: int, time_us: int, span: TimeSpan) -> None:
        """Remember the id of a row of the day that is not of the span, if it is the nearest."""
        row = TimedRange(number, number, time_us, time_us)
        if time_us < span[0]:
            self.before = max(self.before or row, row, key=lambda known: known.last)
        else:
            self.after = min(self.after or row, row, key=lambda known: known.first)


class _Row(msgspec.Struct, frozen=True, gc=False):
    """A line that is neither a header nor blank. If it is no trade, `columns` is None and `time_us` is 0."""

    where: str
    number: int
    text: str
    columns: list[str] | None
    time_us: int


def markets() -> tuple[str, ...]:
    """Exchange codes that have dumps."""
    return tuple(MARKETS)


def opened(
    day: Day, source: Source, is_stopped: Callable[[], bool] = lambda: False
) -> AbstractContextManager[DumpFile]:
    """Open the day's file. `source`: a URL like `URL`, or a folder with the files anywhere below it.

    `is_stopped`: as in `dump_files.opened`.

    Raises:
        DumpError: as `dump_files.opened`.
    """
    return dump_files.opened(day.stem, day.market, day.folder, source, is_stopped)


def inspect(day: Day, stored: DumpFile, span: TimeSpan) -> DumpContents:
    """Read every row of the file before anything is published.

    Raises:
        DumpError: the file is damaged, cut off, out of bounds, of another format or of another day, or it has no
            trades and no checksum file of the exchange says that this is right.
    """
    contents = DumpContents()
    whole = day.span_us
    is_of_the_day = False
    for row in _rows(day, stored):
        contents.rows += 1
        if row.columns is None:
            contents.dead += 1
            continue
        is_of_the_day = is_of_the_day or whole[0] <= row.time_us < whole[1]
        if not _is_published(row, span, whole):
            contents.note_outside(int(row.columns[0]), row.time_us, span)
            continue
        # The id of a placeholder counts as present, so that it is no gap.
        is_trade = not _is_placeholder(row.columns)
        contents.placeholders += not is_trade
        if not contents.runs.add(int(row.columns[0]), row.time_us):
            contents.repeated += 1
            continue
        # A row of another day is published, but counts for its own day.
        contents.trades += is_trade and span[0] <= row.time_us < span[1]
        if len(contents.runs) > _MOST_RUNS:
            raise DumpError(f"{row.where}: most trade ids between its first and last are missing; fetch it again")
    if not contents.rows and not stored.is_vouched:
        raise _empty(stored.name, day)
    if contents.rows and not is_of_the_day:
        raise DumpError(f"{stored.name}: no row of it is of {day.date} (UTC): it is another day's; fetch it again")
    return contents


def messages(day: Day, stored: DumpFile, span: TimeSpan) -> Iterator[Envelope]:
    """The raw messages of the span: the columns of each trade, with the CSV line as a JSON string in the payload.

    The message of a row that is no trade has only a payload, which names file and line; it becomes a dead letter. A
    placeholder is counted as a control message.

    Raises:
        DumpError: as `inspect`.
    """
    whole = day.span_us
    for row in _rows(day, stored):
        if row.columns is not None and not _is_published(row, span, whole):
            continue
        if row.columns is not None and _is_placeholder(row.columns):
            metrics.CONTROL.labels(day.exchange, PLACEHOLDER).inc()
            continue
        yield _envelope(day, row)


def _is_placeholder(columns: list[str]) -> bool:
    return is_placeholder(columns[1], columns[2])


def _is_published(row: _Row, span: TimeSpan, whole: TimeSpan) -> bool:
    """Whether the row is of the span, or of another day: no other file has that row."""
    return span[0] <= row.time_us < span[1] or not whole[0] <= row.time_us < whole[1]


def _envelope(day: Day, row: _Row) -> Envelope:
    columns = row.columns
    received_us = now_us()
    if columns is None:
        place = {"dump": row.where, "line": row.number, "row": row.text}
        return Envelope(
            exchange=day.exchange, symbol="", trade_id="", price="", quantity="", timestamp="", side="", sequence="",
            received_at=received_us, payload=msgspec.json.encode(place).decode(),
        )  # fmt: skip
    return Envelope(
        exchange=day.exchange,
        symbol=day.symbol,
        trade_id=columns[0],
        price=columns[1],
        quantity=columns[2],
        timestamp=columns[4],
        side=_SIDE_OF_BUYER_IS_MAKER[columns[5].lower()],
        sequence="",
        received_at=received_us,
        payload=msgspec.json.encode(row.text).decode(),
    )


def _rows(day: Day, stored: DumpFile) -> Iterator[_Row]:
    for where, lines in stored.entries(day.stem):
        # The first row that is no trade, and the number of columns of the trades.
        odd: _Row | None = None
        width = 0
        has_rows = False
        for number, line in enumerate(lines, start=1):
            if number == 1 and (line.startswith(_UTF_16) or b"\0" in line):
                raise DumpError(f"{where}: is UTF-16 or no text at all; save it as UTF-8, or fetch it again")
            # Files that were joined have a byte order mark in the middle, too. Some programs end a line with LF CR.
            text = line.decode("utf-8", errors="backslashreplace").lstrip("\ufeff\r").rstrip("\r\n")
            columns = _columns(text)
            if not text.strip() or _is_header(columns, where):
                continue
            time_us = _time_us(columns, width)
            row = _Row(where, number, text, None if time_us is None else columns, time_us or 0)
            if row.columns is None and not line.endswith(b"\n"):
                raise DumpError(
                    f"{where}: its last line, {number:,}, is cut off: {text[:100]!r}; nothing of it is published."
                    f"{_hint(row)}"
                )
            if row.columns is None:
                odd = odd or row
            width = width or (len(columns) if row.columns is not None else 0)
            has_rows = True
            yield row
        if not has_rows and not stored.is_vouched:
            raise _empty(where, day)
        if odd is not None and not width:
            raise DumpError(f"{where}: no row of it is a trade; line {odd.number:,}: {odd.text[:100]!r}.{_hint(odd)}")


def _columns(text: str) -> list[str]:
    columns = text.split(",")
    if '"' in text or " " in text or "\t" in text:
        return [column.strip().removeprefix('"').removesuffix('"').strip() for column in columns]
    return columns


def _is_header(columns: list[str], where: str) -> bool:
    """Whether a line is a header. It may stand anywhere: some files were joined with `cat`."""
    if columns[0][:1].isdigit():
        return False
    names = [column.lower() for column in columns]
    if _ALL_NAMES.isdisjoint(names):
        return False
    if len(names) not in {6, 7} or any(name not in known for name, known in zip(names, _NAMES, strict=False)):
        raise DumpError(
            f"{where}: its columns are {', '.join(columns)[:200]}; those of a trade file are id, price, qty, quote_qty,"
            " time, is_buyer_maker[, is_best_match]"
        )
    return True


def _time_us(columns: list[str], width: int) -> int | None:
    """The trade's time, µs (UTC); None if the columns are no trade's. `width`: number of columns; 0: unknown yet."""
    if len(columns) not in {6, 7} or width not in {0, len(columns)}:
        return None
    if id_number(columns[0]) is None:
        return None
    if columns[5].lower() not in _SIDE_OF_BUYER_IS_MAKER or columns[-1].lower() not in _SIDE_OF_BUYER_IS_MAKER:
        return None
    return event_time_us(columns[4])


def _empty(where: str, day: Day) -> DumpError:
    return DumpError(
        f"{where}: has no trades. If the exchange had none on {day.date}, put its .CHECKSUM file beside the file; else"
        " fetch it again"
    )


def _hint(row: _Row) -> str:
    """What to do about a row that is no trade."""
    if "\r" in row.text:
        return " Its lines end with CR alone: they must end with LF (`tr '\\r' '\\n'`)"
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in row.text:
            return f" Its columns are separated by {name}: they must be by commas"
    return " Fetch it again; if this is one of several files in a zip, take it out"
