"""Binance's daily kline files (data.binance.vision): a zipped CSV for each symbol, frame and day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from producers.backfill import dump_files
from producers.backfill.dumps import MARKETS, URL, DumpError
from producers.timestamps import now_us
from series.answer import Answer
from series.errors import SeriesError
from series.providers import binance_klines
from series.providers.model import ProviderError, Question

# Lines of one answer: a day of minutes is 1,440.
_LINES = 20_000
# Its volumes are contracts.
_IN_CONTRACTS = "binance_coinm"


class BinanceDumps:
    """Reads the files of whole days, from a folder or a URL. A file is read to its end before anything of it is stored.

    Only bars, and none of today: a day's file appears the day after.
    """

    name = "binance"

    def __init__(self, source: str = URL) -> None:
        """`source`: a URL like `URL`, or a folder with the files anywhere below it."""
        self._source = source

    async def close(self) -> None:
        """Nothing is open between two files."""

    async def answers(self, question: Question) -> AsyncIterator[Answer]:
        """As `Provider.answers`, a day at a time."""
        market = MARKETS.get(question.exchange)
        if market is None or question.exchange == _IN_CONTRACTS:
            raise SeriesError(
                f"{question.exchange}: Binance has no files of its bars that count in coins; use --provider ccxt"
            )
        end = min(question.end, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
        day = question.start.date()
        while day <= (end - timedelta(microseconds=1)).date():
            for answer in await asyncio.to_thread(self._of_day, question, market, day):
                yield answer
            day += timedelta(days=1)

    def _of_day(self, question: Question, market: str, day: date) -> list[Answer]:
        name = f"{question.exchange_symbol}-{question.frame}-{day}"
        folder = f"daily/klines/{question.exchange_symbol}/{question.frame}"
        try:
            with dump_files.opened(name, market, folder, self._source) as stored:
                found = [
                    self._answer(question, f"{where}#{number}", lines)
                    for where, content in stored.entries(name)
                    for number, lines in enumerate(_pieces(content))
                ]
                stored.check_unchanged()
                return found
        except DumpError as error:
            raise ProviderError(str(error)) from error

    def _answer(self, question: Question, request: str, lines: list[bytes]) -> Answer:
        rows = binance_klines.of_lines(lines, question.key)
        return Answer(self.name, request, now_us(), b"".join(lines), rows)


def _pieces(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while piece := list(islice(lines, _LINES)):
        yield piece
