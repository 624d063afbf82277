"""Opens a dump, from a folder or over HTTP, and checks it against the exchange's checksum file."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import BinaryIO, NewType, cast

import requests
from urllib3.exceptions import HTTPError

from producers.backfill.dump_content import MOST_LINE, DumpError, DumpFile, is_named, stamp_of

URL = "https://data.binance.vision"
# The folder of each exchange code in Binance's tree.
MARKETS = {"binance": "spot", "binance_usdm": "futures/um", "binance_coinm": "futures/cm"}
SUFFIXES = (".zip", ".csv", ".csv.gz")
_TIMEOUT_S = 60.0
_BLOCK = 1 << 20
_MOST_STORED = 16 << 30
# As `sha256sum` writes it: the checksum, then the name of the file (after `*` if it was read as bytes).
_CHECKSUM = re.compile(rb"\s*([0-9a-fA-F]{64})\b(?:[ \t]+\*?([^\r\n]*))?")


class DumpFolder:
    """A folder with dumps. The tree below it is walked once, at the first question; for several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._files: dict[str, list[Path]] | None = None
        self._checksums: dict[Path, list[Path]] = {}

    def __str__(self) -> str:
        return self._path

    def named(self, name: str) -> list[Path]:
        """Whatever has this file name anywhere below the folder, in order.

        Raises:
            DumpError: the tree cannot be listed.
        """
        with self._lock:
            if self._files is None:
                self._files = self._walk()
        return self._files.get(name, [])

    def checksums_of(self, path: Path) -> list[Path]:
        """The checksum files beside a file that `named` gave, in any spelling: `.CHECKSUM`, `.checksum`."""
        return self._checksums.get(path, [])

    def _walk(self) -> dict[str, list[Path]]:
        files: dict[str, list[Path]] = {}
        try:
            for path in sorted(Path(self._path).rglob("*")):
                if path.name.endswith(SUFFIXES):
                    files.setdefault(path.name, []).append(path)
                elif path.suffix.lower() == ".checksum" and path.is_file():
                    self._checksums.setdefault(path.with_suffix(""), []).append(path)
        except OSError as error:
            raise DumpError(f"{error.filename or self._path}: cannot be listed: {error.strerror or error}") from error
        return files


DumpUrl = NewType("DumpUrl", str)  # the base of the files' addresses
Source = DumpUrl | DumpFolder


def source_of(text: str) -> Source:
    """What the `--source` of a run names. One run asks one source, so that it walks a folder once."""
    return DumpUrl(text) if text.lower().startswith(("http://", "https://")) else DumpFolder(text)


@contextmanager
def opened(
    name: str, market: str, folder: str, source: Source, is_stopped: Callable[[], bool] = lambda: False
) -> Iterator[DumpFile]:
    """Open the file `name` (without suffix) of a market, from a folder or a URL (`source`).

    `folder`: the exchange's folder of the file, below the market's folder: `daily/trades/BTCUSDT`. `is_stopped` is
    called while a file is fetched; if it returns True, the download ends.

    Raises:
        DumpError: there is no such file, it cannot be fetched, its checksum file does not agree, or the folder has
            another file of that name with other lines.
    """
    if isinstance(source, str):
        url = address(name, market, folder, source)
        checksum = remote_checksum(url)
        with tempfile.TemporaryFile() as spool:
            sha256 = _fetch(url, cast(BinaryIO, spool), is_stopped)
            yield _stored(url, cast(BinaryIO, spool), sha256, checksum)
        return
    path, twins, unplaced = _find(name, market, source)
    ignored = [f"{other}: {path} lies in the folder of {market}, and this one in none" for other in unplaced]
    with _opened(path, name, source) as stored:
        for twin in twins:
            with _opened(twin, name, source) as other:
                _check_same(name, stored, other)
            ignored.append(f"{twin}: has the same lines as {path}")
        yield replace(stored, ignored=tuple(ignored))


@contextmanager
def _opened(path: Path, name: str, folder: DumpFolder) -> Iterator[DumpFile]:
    try:
        file = path.open("rb")
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        besides = [(str(one), one.read_bytes()[:MOST_LINE]) for one in folder.checksums_of(path)]
    except OSError as error:
        raise DumpError(f"{path}: cannot be read: {error.strerror or error}") from error
    with file:
        checksums = [_checksum(place, content, name) for place, content in besides]
        # If there are several, all must agree.
        differing = [checksum for checksum in checksums if checksum != sha256]
        yield _stored(str(path), file, sha256, next(iter(differing or checksums), None))


def _find(name: str, market: str, folder: DumpFolder) -> tuple[Path, list[Path], list[Path]]:
    """The regular file of that name to read, .zip before .csv before .csv.gz, anywhere below a folder.

    Binance uses the same file name on each market. So a file below the folder of another market in Binance's tree is
    none of this market, and one below the market's own folder comes before others.

    Returns the file; its twins, which are packed in another way and lie as well as it does; and those that lie in no
    market's folder, where it lies in the market's own: nobody knows of which market these are.

    Raises:
        DumpError: there is no such file, or several that are packed in the same way.
    """
    found = [path for paths in _named(name, folder) for path in paths]
    possible = [path for path in found if _market_of(path) in {market, ""}]
    own = [path for path in possible if _market_of(path)] or possible
    if not own:
        lacking = f"{name}: no {name}.zip, .csv or .csv.gz below {folder}; fetch it from {URL}"
        if found:
            lacking += f". {found[0]} lies in a folder of {_market_of(found[0])}; if it is of {market}, move it out"
        raise DumpError(lacking)
    for path, other in pairwise(own):
        if path.name == other.name:
            raise DumpError(f"{name}: 2 files are called so ({path}, {other}): name the folder of one with --source")
    for path in own:
        if not _is_regular(path):
            raise DumpError(f"{path}: is no regular file; fetch it again")
    return own[0], own[1:], [path for path in possible if path not in own]


def _check_same(name: str, one: DumpFile, other: DumpFile) -> None:
    """Check that two files of one name have the same lines, whatever ends them."""
    for number, pair in enumerate(zip_longest(_lines(name, one), _lines(name, other)), start=1):
        if pair[0] != pair[1]:
            first, second = (
                "nothing" if line is None else repr(line.decode("utf-8", "replace")[:100]) for line in pair
            )
            raise DumpError(
                f"{one.name} and {other.name} are of the same day and differ: line {number:,} is {first} in the first"
                f" and {second} in the second; nothing of them is published; remove the one that is wrong"
            )


def _lines(name: str, stored: DumpFile) -> Iterator[bytes]:
    for _, lines in stored.entries(name):
        for line in lines:
            if text := line.rstrip(b"\r\n"):
                yield text


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise DumpError(f"{path}: cannot be read: {error.strerror or error}") from error


def exists(name: str, market: str, folder: DumpFolder) -> bool:
    """Whether anything below the folder has that name, but for the files of other markets."""
    return any(_market_of(path) in {market, ""} for found in _named(name, folder) for path in found)


def _market_of(path: Path) -> str:
    """The market (of `MARKETS`) in whose folder of Binance's tree a file lies; "" if it lies in none."""
    folder = f"{path.absolute().parent.as_posix()}/"
    places = {folder.rfind(f"/{market}/"): market for market in MARKETS.values()}
    return {**places, -1: ""}[max(places)]


def _named(name: str, folder: DumpFolder) -> Iterator[list[Path]]:
    for suffix in SUFFIXES:
        yield folder.named(name + suffix)


def address(name: str, market: str, folder: str, source: str) -> str:
    """The URL of a file. `folder`: as in `opened`."""
    return f"{source.rstrip('/')}/data/{market}/{folder}/{name}.zip"


def remote_checksum(url: str) -> str | None:
    """The checksum that the exchange serves beside a file; None if it serves none.

    Raises:
        DumpError: the exchange does not answer, or the answer is no checksum.
    """
    try:
        with _get(f"{url}.CHECKSUM") as answer:
            if answer.status_code == requests.codes.not_found:
                return None
            _check_status(answer)
            name = url.rpartition("/")[2].removesuffix(".zip")
            return _checksum(f"{url}.CHECKSUM", answer.raw.read(MOST_LINE), name)
    except (requests.RequestException, HTTPError, OSError) as error:
        raise DumpError(f"{url}.CHECKSUM: {error}; try again later, or give a folder with --source") from error


def _fetch(url: str, spool: BinaryIO, is_stopped: Callable[[], bool]) -> str:
    """Save the body to the disk, and return its SHA-256."""
    digest = hashlib.sha256()
    try:
        with _get(url) as answer:
            _check_status(answer)
            while block := answer.raw.read(_BLOCK):
                if is_stopped():
                    raise DumpError(f"{url}: not fetched to its end, the run was stopped")
                digest.update(block)
                if spool.tell() + len(block) > _MOST_STORED:
                    raise DumpError(f"{url}: sends more than {_MOST_STORED:,} bytes: it is no dump")
                spool.write(block)
    except (requests.RequestException, HTTPError, OSError) as error:
        raise DumpError(
            f"{url}: {error}; dumps appear the day after: check the symbol and the dates, or give a folder"
        ) from error
    spool.flush()
    return digest.hexdigest()


def _get(url: str) -> requests.Response:
    """Request without following redirects: the exchange serves its files itself."""
    return requests.get(
        url, timeout=_TIMEOUT_S, stream=True, headers={"Accept-Encoding": "identity"}, allow_redirects=False
    )


def _check_status(answer: requests.Response) -> None:
    answer.raise_for_status()
    if answer.status_code != requests.codes.ok:
        raise requests.HTTPError(f"HTTP {answer.status_code} instead of the file")


def _stored(name: str, file: BinaryIO, sha256: str, checksum: str | None) -> DumpFile:
    if checksum is not None and checksum != sha256:
        raise DumpError(
            f"{name}: its SHA-256 is {sha256}, the .CHECKSUM file beside it says {checksum}: it is damaged, or of"
            " another version; nothing of it is published; fetch both again"
        )
    return DumpFile(name, file, file.seek(0, io.SEEK_END), sha256, checksum is not None, stamp_of(file))


def _checksum(place: str, content: bytes, name: str) -> str:
    """The checksum in a checksum file at `place`, which must be about the file `name` (without suffix)."""
    found = _CHECKSUM.match(content)
    if found is None:
        raise DumpError(f"{place}: begins with no SHA-256; fetch it again, or remove it")
    about = (found[2] or b"").decode("utf-8", errors="backslashreplace").strip().replace("\\", "/").rpartition("/")[2]
    if about and not is_named(about, name):
        raise DumpError(f"{place}: is about {about!r}: the file beside it may be that one; fetch both again")
    return found[1].decode("ascii").lower()
