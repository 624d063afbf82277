"""Reads a dump: its lists of trades line by line, within bounds, checked by the file's own checksums.

zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.16 (the record at the end of the directory).
"""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from config.errors import MedallionError

_BLOCK = 1 << 20
# A trade's row takes about 80 bytes.
MOST_LINE = 4_096
# Lists of trades compress to a fifth or a tenth. A file that unpacks to a hundred times its size is none.
_MOST_GROWTH, _FREE_BYTES = 100, 16 << 20
_MOST_ENTRIES, _MOST_DIRECTORY = 1_000, 1 << 20
_END, _END_SIZE, _LOCATOR_64, _LOCATOR_SIZE = b"PK\x05\x06", 22, b"PK\x06\x07", 20
_LONGEST_COMMENT = 65_535
# Of an entry: the size of its header, the place of the lengths of name and extra field in it, the flag of a descriptor
# after the data, and the longest descriptor.
_LOCAL_SIZE, _LOCAL_LENGTHS, _HAS_DESCRIPTOR, _LONGEST_DESCRIPTOR = 30, 26, 8, 24
_NAMES_A_DAY = re.compile(r"-\d{4}-\d\d(-\d\d)?(?!\d)")
# As the exchange calls its lists: of trades, of sums of trades.
_NAMES_A_LIST = re.compile(r"(?P<symbol>.+)-(?P<kind>trades|aggTrades)(?![a-zA-Z])")
# Errors of `gzip` and `zipfile` for damaged files. `RuntimeError`: a password is needed, or (`NotImplementedError`) the
# compression method is unknown.
_DAMAGE = (EOFError, OSError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError, struct.error)


class DumpError(MedallionError):
    """A dump is missing, or cannot be read as the trades of its day. The message names the file."""


@dataclass(slots=True)
class DumpFile:
    """An open dump.

    `is_vouched`: the exchange's checksum file is there and agrees. `ignored`: other files of this name in the folder,
    each with the reason why it is not read.
    """

    name: str
    file: BinaryIO
    size: int
    sha256: str
    is_vouched: bool
    stamp: tuple[int, int]
    ignored: tuple[str, ...] = ()

    def check_unchanged(self) -> None:
        """Check, after reading, that the file has not changed since it was opened.

        Raises:
            DumpError: it has changed.
        """
        if stamp_of(self.file) != self.stamp:
            raise DumpError(f"{self.name}: was written to while it was read; run again when it is whole")

    def entries(self, stem: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The lists of trades in the file, each with its name and its lines. Read each list to its end.

        `stem`: the name of the day's file; an entry with the name of another day is refused. Entries that archivers add
        (folders, `__MACOSX`, `._…`, `.DS_Store`) are checked for damage and left out.

        Raises:
            DumpError: the file is damaged, cut off, or out of bounds. It may be raised while a list is read.
        """
        if not self.size:
            raise DumpError(f"{self.name}: is empty (0 bytes); fetch it again")
        bound = _Bound(self.name, self.size)
        self.file.seek(0)
        if self.name.endswith(".zip"):
            yield from self._zipped(stem, bound)
        elif self.name.endswith(".gz"):
            yield self.name, self._lines(cast(IO[bytes], gzip.GzipFile(fileobj=self.file)), bound)
        else:
            yield self.name, self._lines(self.file, bound)

    def _zipped(self, stem: str, bound: _Bound) -> Iterator[tuple[str, Iterator[bytes]]]:
        try:
            count, directory = _end_record(self.file, self.size)
            archive = zipfile.ZipFile(self.file)
            if len(archive.infolist()) != count:
                raise zipfile.BadZipFile(f"{len(archive.infolist())} of its {count} entries are listed")
            _check_covered(self.file, directory, archive)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        for info in archive.infolist():
            # With other methods, one step can unpack to any size.
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise DumpError(
                    f"{self.name}: {info.filename!r} is packed by method {info.compress_type}: damaged, or made by"
                    " another program; fetch it again, or pack it by deflate"
                )
            try:
                content = archive.open(info)
            except _DAMAGE as error:
                raise self._damaged(error) from error
            with content:
                if info.is_dir() or _is_archivers_own(info.filename):
                    for _ in self._blocks(content, bound):
                        if info.is_dir():
                            raise DumpError(
                                f"{self.name}: {info.filename!r} is a folder with content: damaged, or made by another"
                                " program; fetch it again"
                            )
                    continue
                base = info.filename.rpartition("/")[2]
                if _names_another(base, stem):
                    raise DumpError(
                        f"{self.name}: {info.filename!r} in it is not of {stem}: take it out, and run again"
                    )
                # `readline` of `zipfile` is ten times slower.
                yield f"{self.name}: {info.filename}", self._lines(io.BufferedReader(content, _BLOCK), bound)  # type: ignore[type-var]  # it reads as a raw file does

    def _lines(self, content: IO[bytes], bound: _Bound) -> Iterator[bytes]:
        while True:
            try:
                line = content.readline(MOST_LINE + 1)
            except _DAMAGE as error:
                raise self._damaged(error) from error
            if not line:
                return
            if len(line) > MOST_LINE:
                raise DumpError(
                    f"{self.name}: a line is longer than {MOST_LINE:,} bytes ({line[:40]!r}…): it is no list of trades;"
                    " fetch it again"
                )
            bound.count(len(line))
            yield line

    def _blocks(self, content: IO[bytes], bound: _Bound) -> Iterator[bytes]:
        while True:
            try:
                block = content.read(_BLOCK)
            except _DAMAGE as error:
                raise self._damaged(error) from error
            if not block:
                return
            bound.count(len(block))
            yield block

    def _damaged(self, error: BaseException) -> DumpError:
        return DumpError(
            f"{self.name}: is damaged or cut off ({str(error) or type(error).__name__}), nothing of it is published;"
            " fetch it again"
        )


class _Bound:
    """The bound on the unpacked size of a file. Overlapping entries count each."""

    def __init__(self, name: str, stored: int) -> None:
        self._name = name
        self._left = max(stored * _MOST_GROWTH, _FREE_BYTES)
        self._most = self._left

    def count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise DumpError(
                f"{self._name}: unpacks to more than {self._most:,} bytes: it is no list of trades; fetch it again"
            )


def stamp_of(file: BinaryIO) -> tuple[int, int]:
    """Size and time of the last write. They change when somebody writes to the file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _end_record(file: BinaryIO, size: int) -> tuple[int, int]:
    """The number of entries that the archive's end record names, checked against a bound, and their directory's offset.

    `zipfile` would read a directory of any size. Of two joined archives it would read the last one and skip the first.
    """
    begin = max(size - _LONGEST_COMMENT - _END_SIZE - _LOCATOR_SIZE, 0)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_SIZE:
        raise zipfile.BadZipFile("no zip file, or its end is missing")
    count, length, directory, comment = struct.unpack("<HLLH", tail[at + 10 : at + _END_SIZE])
    if count > _MOST_ENTRIES or length > _MOST_DIRECTORY or tail[: max(at, 0)][-_LOCATOR_SIZE:].startswith(_LOCATOR_64):
        raise zipfile.BadZipFile(f"more than {_MOST_ENTRIES:,} entries, or names beyond all measure")
    if len(tail) != at + _END_SIZE + comment:
        raise zipfile.BadZipFile("its end is not where it says")
    if before := begin + at - length - directory:
        raise zipfile.BadZipFile(f"{before:,} bytes in front of it are of no entry: joined files?")
    return int(count), int(directory)


def _check_covered(file: BinaryIO, directory: int, archive: zipfile.ZipFile) -> None:
    """Check that every byte before the directory belongs to a listed entry; otherwise trades may be lost."""
    covered = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset > covered:
            break
        file.seek(info.header_offset + _LOCAL_LENGTHS)
        name, extra = struct.unpack("<HH", file.read(4))
        described = _LONGEST_DESCRIPTOR if info.flag_bits & _HAS_DESCRIPTOR else 0
        covered = info.header_offset + _LOCAL_SIZE + name + extra + info.compress_size + described
    if covered < directory:
        raise zipfile.BadZipFile(f"{directory - covered:,} bytes in it are of no listed entry")


def is_named(name: str, stem: str) -> bool:
    """Whether a file is called `stem`, with any ending."""
    return name.startswith(stem) and not name[len(stem) :][:1].isdigit()


def _names_another(name: str, stem: str) -> bool:
    """Whether an entry's name says that it is of another day, or of another symbol, than the file `stem`."""
    if _NAMES_A_DAY.search(name):
        return not is_named(name, stem)
    listed = _NAMES_A_LIST.match(name)
    return listed is not None and not stem.startswith(f"{listed['symbol']}-{listed['kind']}-")


def _is_archivers_own(name: str) -> bool:
    base = name.rpartition("/")[2]
    return name.startswith("__MACOSX/") or base.startswith("._") or base == ".DS_Store"
