"""A dump as it is stored: found or fetched, its checksum known, read to its end within bounds before it is believed.

zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.16 (the record at the end of the directory).
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import requests
from urllib3.exceptions import HTTPError

from config.errors import MedallionError

URL = "https://data.binance.vision"
SUFFIXES = (".zip", ".csv", ".csv.gz")
_TIMEOUT_S = 60.0
_BLOCK = 1 << 20
#: A trade's row takes some 80 bytes.
MOST_LINE = 4_096
#: Trades shrink to a fifth or a tenth; what grows a hundredfold is no list of trades.
_MOST_GROWTH, _FREE_BYTES = 100, 64 << 20
_MOST_STORED = 16 << 30
_MOST_ENTRIES, _MOST_DIRECTORY = 1_000, 1 << 20
_END, _END_SIZE, _LOCATOR_64, _LOCATOR_SIZE = b"PK\x05\x06", 22, b"PK\x06\x07", 20
_LONGEST_COMMENT = 65_535
_CHECKSUM = re.compile(rb"\s*([0-9a-fA-F]{64})\b")
_NAMES_A_DAY = re.compile(r".+-\d{4}-\d\d(-\d\d)?\.csv", re.IGNORECASE)
_DAMAGE = (
    EOFError,
    OSError,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)


class DumpError(MedallionError):
    """A dump is missing, or cannot be read as the trades of its day; the message names the file."""


@dataclass(slots=True)
class Stored:
    """An open file. `is_vouched`: the venue's checksum file is beside it and agrees."""

    name: str
    file: BinaryIO
    size: int
    sha256: str
    is_vouched: bool
    stamp: tuple[int, int]

    def check_unchanged(self) -> None:
        """To be called when it was read.

        Raises:
            DumpError: somebody has written to it since it was opened.
        """
        if _stamp(self.file) != self.stamp:
            raise DumpError(f"{self.name}: was written to while it was read; run again when it is whole")

    def entries(self, stem: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The lists of trades in the file, each with its name and its lines; read each to its end.

        `stem` is what the day's file is called: an entry that is called after another day is refused. What archivers
        add (folders, `__MACOSX`, `._…`, `.DS_Store`) is read, since it may be damaged as well, and left out.

        Raises:
            DumpError: here or while a list is read; the file is damaged, cut off, or out of bounds.
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
            count = _entries_said(self.file, self.size)
            archive = zipfile.ZipFile(self.file)
            if len(archive.infolist()) != count:
                raise zipfile.BadZipFile(f"{len(archive.infolist())} of its {count} entries are listed")
        except _DAMAGE as error:
            raise self._damaged(error) from error
        for info in archive.infolist():
            # Other methods have no bound on what one step of them gives.
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
                        pass
                    continue
                base = info.filename.rpartition("/")[2]
                if _NAMES_A_DAY.fullmatch(base) and not base.startswith(stem):
                    raise DumpError(
                        f"{self.name}: {info.filename!r} in it is not of {stem}: take it out, and run again"
                    )
                # Python's own `readline` of an entry is ten times slower.
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
    """How much a file may grow; entries that overlap count each."""

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


@contextmanager
def opened(name: str, market: str, symbol: str, source: str) -> Iterator[Stored]:
    """The file `name` (without suffix) of a market's symbol; as `find` where `source` is a folder, else fetched.

    Raises:
        DumpError: there is no such file, it cannot be fetched, or its checksum file does not agree.
    """
    if is_url(source):
        url = address(name, market, symbol, source)
        checksum = remote_checksum(url)
        with tempfile.TemporaryFile() as spool:
            sha256 = _fetch(url, cast(BinaryIO, spool))
            yield _stored(url, cast(BinaryIO, spool), sha256, checksum)
        return
    path = find(name, market, source)
    beside = path.with_name(f"{path.name}.CHECKSUM")
    try:
        file = path.open("rb")
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        checksum = _checksum(str(beside), beside.read_bytes()[:MOST_LINE]) if beside.is_file() else None
    except OSError as error:
        raise DumpError(f"{path}: cannot be read: {error.strerror or error}") from error
    with file:
        yield _stored(str(path), file, sha256, checksum)


def find(name: str, market: str, folder: str) -> Path:
    """The one regular file of that name, .zip before .csv before .csv.gz, anywhere below a folder.

    The same file name stands for other trades on another market: where the tree is Binance's own, that of the market.

    Raises:
        DumpError: none or several.
    """
    for found in _named(name, folder):
        own = [path for path in found if market in path.as_posix()] or found
        if len(own) > 1:
            raise DumpError(
                f"{name}: {len(own)} files are called so ({own[0]}, {own[1]}): name the folder of one with --source"
            )
        if own and not stat.S_ISREG(own[0].stat().st_mode):
            raise DumpError(f"{own[0]}: is no regular file; fetch it again")
        if own:
            return own[0]
    raise DumpError(f"{name}: no {name}.zip, .csv or .csv.gz below {folder}; fetch it from {URL}")


def exists(name: str, folder: str) -> bool:
    """Whether anything there has that name."""
    return any(_named(name, folder))


def _named(name: str, folder: str) -> Iterator[list[Path]]:
    for suffix in SUFFIXES:
        yield sorted(Path(folder).rglob(glob.escape(name + suffix)))


def is_url(source: str) -> bool:
    """Whether a source is no folder."""
    return source.startswith(("http://", "https://"))


def address(name: str, market: str, symbol: str, source: str) -> str:
    """Where a file is served."""
    return f"{source.rstrip('/')}/data/{market}/daily/trades/{symbol}/{name}.zip"


def remote_checksum(url: str) -> str | None:
    """What the venue says beside a file; None where it says nothing.

    Raises:
        DumpError: it does not answer, or something else does.
    """
    try:
        with _get(f"{url}.CHECKSUM") as answer:
            if answer.status_code == requests.codes.not_found:
                return None
            _check_status(answer)
            return _checksum(f"{url}.CHECKSUM", answer.raw.read(MOST_LINE))
    except (requests.RequestException, HTTPError, OSError) as error:
        raise DumpError(f"{url}.CHECKSUM: {error}; try again later, or give a folder with --source") from error


def _fetch(url: str, spool: BinaryIO) -> str:
    """The body as it is sent, on the disk; its SHA-256."""
    digest = hashlib.sha256()
    try:
        with _get(url) as answer:
            _check_status(answer)
            while block := answer.raw.read(_BLOCK):
                digest.update(block)
                if spool.tell() + len(block) > _MOST_STORED:
                    raise DumpError(f"{url}: sends more than {_MOST_STORED:,} bytes: it is no day of trades")
                spool.write(block)
    except (requests.RequestException, HTTPError, OSError) as error:
        raise DumpError(
            f"{url}: {error}; dumps appear the day after: check the symbol and the dates, or give a folder"
        ) from error
    spool.flush()
    return digest.hexdigest()


def _get(url: str) -> requests.Response:
    """A venue serves its files itself: nobody is followed elsewhere."""
    return requests.get(
        url, timeout=_TIMEOUT_S, stream=True, headers={"Accept-Encoding": "identity"}, allow_redirects=False
    )


def _check_status(answer: requests.Response) -> None:
    answer.raise_for_status()
    if answer.status_code != requests.codes.ok:
        raise requests.HTTPError(f"HTTP {answer.status_code} instead of the file")


def _stored(name: str, file: BinaryIO, sha256: str, checksum: str | None) -> Stored:
    if checksum is not None and checksum != sha256:
        raise DumpError(
            f"{name}: its SHA-256 is {sha256}, the .CHECKSUM file beside it says {checksum}: it is damaged, or of"
            " another version; nothing of it is published; fetch both again"
        )
    return Stored(name, file, file.seek(0, io.SEEK_END), sha256, checksum is not None, _stamp(file))


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _checksum(name: str, content: bytes) -> str:
    found = _CHECKSUM.match(content)
    if found is None:
        raise DumpError(f"{name}: begins with no SHA-256; fetch it again, or remove it")
    return found[1].decode("ascii").lower()


def _entries_said(file: BinaryIO, size: int) -> int:
    """How many entries the archive says it has, within bounds: `zipfile` reads the whole directory, and counts none."""
    file.seek(max(size - _LONGEST_COMMENT - _END_SIZE - _LOCATOR_SIZE, 0))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_SIZE:
        raise zipfile.BadZipFile("no zip file, or its end is missing")
    count, directory = struct.unpack("<HL", tail[at + 10 : at + 16])
    if (
        count > _MOST_ENTRIES
        or directory > _MOST_DIRECTORY
        or tail[: max(at, 0)][-_LOCATOR_SIZE:].startswith(_LOCATOR_64)
    ):
        raise zipfile.BadZipFile(f"more than {_MOST_ENTRIES:,} entries, or names beyond all measure")
    return int(count)


def _is_archivers_own(name: str) -> bool:
    base = name.rpartition("/")[2]
    return name.startswith("__MACOSX/") or base.startswith("._") or base == ".DS_Store"
