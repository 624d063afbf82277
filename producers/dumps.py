"""Binance's public trade dumps (data.binance.vision): one CSV a symbol and day, zipped, in a folder or behind a URL.

Columns: id, price, qty, quote qty, time, is buyer maker[, is best match]; with a header line on futures. Times are in
ms, in µs on spot from 2025-01-01 on; they are published as they are, as on the stream.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import requests

from config.errors import MedallionError
from producers import metrics
from producers.envelope import Envelope
from producers.exchanges.model import PLACEHOLDER, is_placeholder
from producers.schedule import event_time_us

URL = "https://data.binance.vision"
_MARKETS = {"binance": "spot", "binance_usdm": "futures/um", "binance_coinm": "futures/cm"}
_SUFFIXES = (".zip", ".csv", ".csv.gz")
_TIMEOUT_S = 60.0
_SIDE_OF_BUYER_IS_MAKER = {"true": "SELL", "false": "BUY"}


class DumpError(MedallionError):
    """A dump is missing or cannot be read."""


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """All trades of a symbol on a UTC day."""

    exchange: str
    symbol: str
    date: date

    @property
    def name(self) -> str:
        """As in the state file."""
        return f"{self.exchange}/{self.symbol}/{self.date}"


def markets() -> tuple[str, ...]:
    """Exchange codes that have dumps."""
    return tuple(_MARKETS)


def read(day: Day, source: str, from_us: int, to_us: int) -> Iterator[Envelope]:
    """The day's trades from `from_us` (µs, UTC) to before `to_us`, as raw messages.

    `source` is a URL as `URL`, or a folder with the files anywhere below it. `payload` is the CSV line as a JSON
    string.

    Raises:
        DumpError: there is no such file, it cannot be fetched, or a line is no trade.
    """
    with _open(day, source) as file:
        for number, raw in enumerate(file, start=1):
            line = raw.decode("ascii", errors="replace").rstrip("\r\n")
            if number == 1 and not line[:1].isdigit():
                continue
            envelope = _envelope(day, line, number)
            if is_placeholder(envelope.price, envelope.quantity):
                metrics.CONTROL.labels(day.exchange, PLACEHOLDER).inc()
                continue
            time_us = event_time_us(envelope.timestamp)
            if time_us is None:
                raise DumpError(f"{day.name}: line {number:,} has no time: {line[:100]!r}; fetch the file again")
            if from_us <= time_us < to_us:
                yield envelope


def _envelope(day: Day, line: str, number: int) -> Envelope:
    columns = line.split(",")
    side = _SIDE_OF_BUYER_IS_MAKER.get(columns[5].lower()) if len(columns) in {6, 7} else None
    if side is None:
        raise DumpError(f"{day.name}: line {number:,} is no trade: {line[:100]!r}; fetch the file again")
    payload = msgspec.json.encode(line).decode()
    received_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    return Envelope(
        exchange=day.exchange,
        symbol=day.symbol,
        trade_id=columns[0],
        price=columns[1],
        quantity=columns[2],
        timestamp=columns[4],
        side=side,
        sequence="",
        received_at=received_us,
        payload=payload,
    )


def _open(day: Day, source: str) -> BinaryIO:
    name = f"{day.symbol}-trades-{day.date}"
    if source.startswith(("http://", "https://")):
        url = f"{source.rstrip('/')}/data/{_MARKETS[day.exchange]}/daily/trades/{day.symbol}/{name}.zip"
        try:
            answer = requests.get(url, timeout=_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise DumpError(
                f"{day.name}: {error}; dumps appear the day after: check the symbol and the dates, or give a folder"
            ) from error
        return _content(f"{name}.zip", io.BytesIO(answer.content), day)
    for suffix in _SUFFIXES:
        # The same file name stands for other trades on another market, where the tree is Binance's own.
        found = sorted(Path(source).rglob(name + suffix))
        own = [path for path in found if _MARKETS[day.exchange] in path.as_posix()] or found
        if own:
            return _content(own[0].name, own[0].open("rb"), day)
    raise DumpError(f"{day.name}: no {name}.zip, .csv or .csv.gz below {source}; fetch it from {URL}")


def _content(name: str, file: BinaryIO, day: Day) -> BinaryIO:
    try:
        if name.endswith(".zip"):
            archive = zipfile.ZipFile(file)
            return archive.open(archive.namelist()[0])  # type: ignore[return-value]  # IO[bytes] is as good
        return gzip.open(file) if name.endswith(".gz") else file  # type: ignore[return-value]
    except (zipfile.BadZipFile, IndexError) as error:
        raise DumpError(f"{day.name}: {name} is no zip file: {error}; fetch it again") from error
