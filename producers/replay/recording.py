"""Recorded WebSocket messages: one verbatim message a line, plain or gzip, in bounded memory.

A line ends with LF or CR LF; the last line end starts no further message; a blank line is an empty message. A mark of
UTF-8 (BOM) before the first message is none of its bytes.
Beside `<name>.jsonl[.gz]` there may be `<name>.recv_ns.txt.gz`: the receive time of each line, ns since the epoch.
"""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from config.errors import MedallionError

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER = 1 << 20
_SUFFIXES = (".gz", ".jsonl")


class RecordingError(MedallionError):
    """A recording cannot be read."""


class Recording:
    """A recording open for one pass; iterate over its messages."""

    def __init__(self, path: Path, *, longest_message: int) -> None:
        """Opens the file, and its receive times where there are any.

        Args:
            path: the recording; gzip is told by its content, not by its name.
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
        """How much of the file was read, 0 to 1."""
        return self._file.tell() / self._size if self._size else 1.0

    def check(self) -> None:
        """Read a compressed file to its end, which is where its checksum is, and begin again.

        Raises:
            RecordingError: it is damaged or cut off.
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
            while line := self._lines.readline(self._longest + 2):
                self._number += 1
                if self._number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # as an editor wrote it
                if not line.endswith(b"\n") and len(line) > self._longest:
                    self._skip_line()
                yield line.removesuffix(b"\n").removesuffix(b"\r")[: self._longest]
        except (EOFError, OSError, zlib.error) as error:
            raise RecordingError(
                f"{self.path}: damaged after {self._number:,} messages ({error}); those were read,"
                " fetch the file again and replay it whole: duplicates are harmless"
            ) from error

    def received_at(self) -> int | None:
        """The recorded receive time of the next message in µs since the epoch; None where none was recorded.

        Call it once a message.

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
