"""Binance's files of klines and funding rates (data.binance.vision): a zipped CSV a day of bars, a month of rates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from producers.backfill import dump_files
from producers.backfill.dumps import MARKETS, URL, DumpError
from producers.timestamps import now_us
from series.answer import Answer
from series.errors import SeriesError
from series.providers import binance_funding, binance_klines
from series.providers.model import ProviderError, Question

# Lines of one answer: a day of minutes is 1,440.
_LINES = 20_000
# The volumes of its bars are numbers of contracts.
_IN_CONTRACTS = "binance_coinm"
_WITH_RATES = frozenset({MARKETS["binance_usdm"], MARKETS["binance_coinm"]})


class BinanceDumps:
    """Reads whole files from a folder or a URL. A file is read to its end before any of its rows is stored.

    A file appears when its day (bars) or month (funding rates) is over, so the newest bars are of yesterday.
    """

    name = "binance"

    def __init__(self, source: str = URL) -> None:
        """`source`: a URL like `URL`, or a folder with the files anywhere below it."""
        self._source = source

    async def close(self) -> None:
        """Nothing is open between two files."""

    async def answers(self, question: Question) -> AsyncIterator[Answer]:
        """As `Provider.answers`, a file at a time."""
        market = MARKETS.get(question.exchange, "")
        if _is_of_rates(question):
            if market not in _WITH_RATES:
                raise SeriesError(f"{question.exchange}: Binance has files of funding rates of its futures only")
        elif not market or question.exchange == _IN_CONTRACTS:
            raise SeriesError(
                f"{question.exchange}: Binance has no files of its bars with volumes in coins; use --provider ccxt"
            )
        source = dump_files.source_of(self._source)
        for name, folder in _months(question) if _is_of_rates(question) else _days(question):
            for answer in await asyncio.to_thread(self._of_file, question, market, name, folder, source):
                yield answer

    def _of_file(
        self, question: Question, market: str, name: str, folder: str, source: dump_files.Source
    ) -> list[Answer]:
        try:
            with dump_files.opened(name, market, folder, source) as stored:
                found = [
                    self._answer(question, f"{where}#{number}", lines)
                    for where, content in stored.entries(name)
                    for number, lines in enumerate(_pieces(content))
                ]
                stored.check_unchanged()
                return [answer for answer in found if _has_news(answer, question)]
        except DumpError as error:
            raise ProviderError(str(error)) from error

    def _answer(self, question: Question, request: str, lines: list[bytes]) -> Answer:
        if _is_of_rates(question):
            rows = binance_funding.of_lines(lines, question.key, question.start, question.end)
        else:
            rows = binance_klines.of_lines(lines, question.key)
        return Answer(self.name, request, now_us(), b"".join(lines), rows)


def _is_of_rates(question: Question) -> bool:
    return question.series.name == "funding_rates"


def _has_news(answer: Answer, question: Question) -> bool:
    """Whether an answer is stored. A file of rates is not, if its only row is the stored one at which a run begins."""
    known = str(int(question.start.timestamp() * 1_000))
    return not _is_of_rates(question) or any(row.get("funding_time") != known for row in answer.rows)


def _days(question: Question) -> Iterator[tuple[str, str]]:
    """Name and folder of each day's file of bars."""
    end = min(question.end, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
    day = question.start.date()
    while day <= (end - timedelta(microseconds=1)).date():
        yield (
            f"{question.exchange_symbol}-{question.frame}-{day}",
            f"daily/klines/{question.exchange_symbol}/{question.frame}",
        )
        day += timedelta(days=1)


def _months(question: Question) -> Iterator[tuple[str, str]]:
    """Name and folder of each month's file of funding rates."""
    end = min(question.end, datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    month = question.start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month < end:
        yield (
            f"{question.exchange_symbol}-fundingRate-{month:%Y-%m}",
            f"monthly/fundingRate/{question.exchange_symbol}",
        )
        month = (month + timedelta(days=31)).replace(day=1)


def _pieces(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while piece := list(islice(lines, _LINES)):
        yield piece
