"""Reads recorded WebSocket messages: one verbatim message a line, plain or gzip, in bounded memory.

A line ends with LF or CR LF. A blank line is an empty message. A byte order mark before a message is skipped.
Beside `<name>.jsonl[.gz]` there may be a file `<name>.recv_ns.txt.gz` with the receive time of each line, in ns since
the epoch.
"""

from __future__ import annotations

import codecs
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from config.errors import MedallionError
from producers.exchanges import REGISTRY
from producers.exchanges.model import Exchange, Parsed, Trades, Unrecognised
from producers.exchanges.parsing import elements

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER = 1 << 20
_SUFFIXES = (".gz", ".jsonl")
# If the first this many messages are all unknown, the file is no recording. A shorter file counts as one, unless its
# content shows otherwise.
MOST_LINES = 20
# A file with so many known messages without a trade (acknowledgements, other streams) is a recording.
_MOST_CONTROL = 1_000
# At most so many bytes of a file are checked.
_MOST_BYTES = 8 << 20
# What a file is that begins with these bytes, and the remedy.
_OTHER_FILES = {
    b"PK": "a zip file: unzip it first",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it first",
    b"BZh": "packed by bzip2: unpack it first",
    b"\xfd7zXZ": "packed by xz: unpack it first",
    b"\x04\x22\x4d\x18": "packed by lz4: unpack it first",
    b"7z\xbc\xaf": "packed by 7-Zip: unpack it first",
    _GZIP_MAGIC: "packed by gzip twice: unpack it once",
    b"PAR1": "a Parquet file: write its messages as text, one a line",
    b"<": "a web page or other XML, perhaps a failed download: fetch the file again",
}


class RecordingError(MedallionError):
    """A recording cannot be read."""


class Recording:
    """A recording that is open for one pass over its messages."""

    def __init__(self, path: Path, *, longest_message: int) -> None:
        """Open the file, and its receive times if there are any.

        Args:
            path: the recording. Its content, not its name, decides whether it is read as gzip.
            longest_message: a longer line is cut to this many bytes.

        Raises:
            RecordingError: the file cannot be opened.
        """
        self.path = path
        self._longest = longest_message
        self._number = 0
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise RecordingError(
                f"{path}: {error.strerror}; give the path of a recording, one message a line, plain or .gz"
            ) from error
        self._size = os.fstat(self._file.fileno()).st_size
        compressed = self._file.read(2) == _GZIP_MAGIC
        self._file.seek(0)
        self._lines: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=self._file) if compressed else self._file
        self._times = _receive_times(path)

    @property
    def fraction(self) -> float:
        """The share of the file that was read, 0 to 1."""
        return self._file.tell() / self._size if self._size else 1.0

    def check(self) -> None:
        """Check a compressed file: read it up to the checksum at its end, then go back to its beginning.

        Raises:
            RecordingError: the file, or that of its receive times, is damaged or cut off.
        """
        for file, name in ((self._lines, self.path.name), (self._times, "the receive times beside it")):
            if isinstance(file, gzip.GzipFile):
                try:
                    while file.read(_BUFFER):
                        pass
                    file.seek(0)
                except (EOFError, OSError, zlib.error) as error:
                    raise RecordingError(
                        f"{self.path}: {name} is damaged or cut off ({error}), nothing was published; fetch it again,"
                        " or publish what can be read of it with --force"
                    ) from error

    def __iter__(self) -> Iterator[bytes]:
        """The messages, verbatim.

        Raises:
            RecordingError: the compressed file is damaged or cut off.
        """
        try:
            while line := self._lines.readline(self._longest + 2 + len(codecs.BOM_UTF8)):
                self._number += 1
                # Some editors write a byte order mark before the first line; in joined files it stands before others.
                # It is no part of the message.
                line = line.removeprefix(codecs.BOM_UTF8)
                if not line.endswith(b"\n") and len(line) > self._longest:
                    self._skip_line()
                yield line.removesuffix(b"\n").removesuffix(b"\r")[: self._longest]
        except (EOFError, OSError, zlib.error) as error:
            raise RecordingError(
                f"{self.path}: damaged after {self._number:,} messages ({error}); those were read,"
                " fetch the file again and replay it whole: duplicates are harmless"
            ) from error

    def received_at(self) -> int | None:
        """The recorded receive time of the next message, µs since the epoch; None if none was recorded.

        Call it once for each message.

        Raises:
            RecordingError: the receive times do not belong to the recording.
        """
        if self._times is None:
            return None
        line = self._times.readline()
        try:
            return int(line) // 1_000
        except ValueError as error:
            raise RecordingError(
                f"{self.path}: its receive times have no number for message {self._number:,};"
                " repair or remove the .recv_ns.txt.gz file beside it"
            ) from error

    def close(self) -> None:
        """Close the file."""
        for file in (self._lines, self._file, self._times):
            if file is not None:
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _skip_line(self) -> None:
        while (rest := self._lines.readline(_BUFFER)) and not rest.endswith(b"\n"):
            pass


def _receive_times(path: Path) -> gzip.GzipFile | None:
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    times = path.with_name(f"{name}.recv_ns.txt.gz")
    return gzip.open(times, "rb") if times.is_file() else None


def why_not(messages: Iterable[bytes], exchange: Exchange) -> str:
    """Why the file is probably no recording of the exchange, and what to do; "" if it probably is one.

    Only messages before the first trade are checked, and a limited number of them.
    """
    unknown: list[bytes] = []
    control = size = 0
    for message in messages:
        parsed = exchange.parse(message)
        if isinstance(parsed, Trades):
            return _other_market(parsed, exchange)
        if isinstance(parsed, Unrecognised):
            unknown.append(message)
        else:
            control += 1
        size += len(message)
        if len(unknown) == MOST_LINES or control == _MOST_CONTROL or size > _MOST_BYTES:
            break
    why = _why_unknown(unknown, exchange)
    if not why and not control and len(unknown) == MOST_LINES:
        why = f"another kind of file: none of its first {MOST_LINES} lines is a message of {exchange.code}"
    return why


def _other_market(trades: Trades, exchange: Exchange) -> str:
    """The advice for trades of another exchange code; "" if they are of this one, or if their payloads do not say."""
    codes = _markets_of(trades, exchange)
    return _named(codes) if codes and exchange.code not in codes else ""


def _markets_of(trades: Trades, exchange: Exchange) -> list[str]:
    """The exchange codes of the trades of a frame, as far as their payloads say."""
    return list(dict.fromkeys(market for trade in trades.records if (market := exchange.market_of(trade))))


def _named(codes: Iterable[str]) -> str:
    return f"messages of {' or '.join(codes)}: name the exchange and market with --exchange"


def _why_unknown(messages: list[bytes], exchange: Exchange) -> str:
    """Why the exchange's parser does not know these messages; "" if that cannot be said."""
    if not messages:
        return ""
    in_other_form = (_message_form(message, exchange.parse) for message in messages)
    return _file_form(messages) or next(filter(None, in_other_form), "") or _other_exchanges(messages)


def _file_form(lines: list[bytes]) -> str:
    """The form of a file that is no text with one message a line; "" for any other file."""
    first = next((line for line in lines if line.strip()), b"")
    for magic, form in _OTHER_FILES.items():
        if first.startswith(magic):
            return form
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in first[:64]:
        return "UTF-16, or no text: save it as UTF-8"
    if _is_cut_json(lines):
        return "pretty-printed: write each message on a line of its own (`jq -c .`, of an array `jq -c '.[]'`)"
    return ""


def _is_cut_json(lines: list[bytes]) -> bool:
    """Whether a JSON value begins in the first line that is not blank and goes on in the next."""
    first, second, *_ = [*(line for line in lines if line.strip()), b"", b""]
    if first.lstrip()[:1] not in {b"{", b"["} or _is_json(first) or _is_json(second):
        return False
    return second[:1] in {b" ", b"\t", b"{", b"[", b"]", b"}", b'"'}


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _message_form(message: bytes, parse: Callable[[bytes], Parsed]) -> str:
    """The form of a line that has a known message with something around it; "" for any other line."""

    def is_known(content: bytes) -> bool:
        return not isinstance(parse(content), Unrecognised)

    if b"\r" in message and is_known(message.partition(b"\r")[0]):
        return "lines that end with CR alone: write LF (`tr '\\r' '\\n'`)"
    start = min((at for at in (message.find(b"{"), message.find(b"[")) if at > 0), default=0)
    if start and is_known(message[start:]):
        return f"messages after other text ({message[:start][:40]!r}): remove that text (`sed 's/^[^{{[]*//'`)"
    if is_known(_first_value(message)):
        return "several messages on a line: write each on a line of its own (`jq -c .`)"
    if any(is_known(element) for element in _elements(message)):
        return "a JSON array: write each message on a line of its own (`jq -c '.[]'`)"
    return ""


def _first_value(message: bytes) -> bytes:
    """The JSON value with which a line begins."""
    text = message.decode("utf-8", errors="surrogateescape")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return b""
    return text[:end].encode("utf-8", errors="surrogateescape")


def _other_exchanges(messages: list[bytes]) -> str:
    """The advice for trades of other exchanges; "" if no parser finds a trade."""
    for message in messages:
        codes = {
            market: None
            for other in REGISTRY.values()
            if isinstance(parsed := other.parse(message), Trades)
            for market in _markets_of(parsed, other) or [other.code]
        }
        if codes:
            return _named(codes)
    return ""


def _elements(message: bytes) -> list[bytes]:
    try:
        return [bytes(element) for element in elements(msgspec.Raw(message))]
    except (msgspec.DecodeError, RecursionError):
        return []
