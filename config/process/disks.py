"""Measures free disk space, and recognises failures of a full disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

OK, LOW, FULL = "ok", "low", "full"
_MIB, _GIB = 1 << 20, 1 << 30
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Parts of the messages of the operating system, SQLite and ClickHouse (codes 243 and 973).
_MESSAGES = ("no space left on device", "database or disk is full", "disk quota exceeded", "cannot reserve")


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a folder. `free` and `size` are bytes, as a process without privileges sees them."""

    name: str
    path: Path
    free: int
    size: int

    @property
    def level(self) -> str:
        """`full` below 1 % (at least 8 MiB, at most 1 GiB): writes fail. `low` below 15 %, at most 20 GiB."""
        if self.free < min(max(self.size // 100, 8 * _MIB), _GIB):
            return FULL
        return LOW if self.free < min(self.size * 15 // 100, 20 * _GIB) else OK

    def __str__(self) -> str:
        return f"the disk of {self.path} ({self.name}) has {self.free / _MIB:,.0f} of {self.size / _MIB:,.0f} MiB left"


def measure(places: Mapping[str, Path]) -> list[Disk]:
    """The disks of these folders, by name. A disk with several folders comes once. Missing folders are left out."""
    disks: dict[int, Disk] = {}
    for name, path in places.items():
        try:
            device, usage = path.stat().st_dev, shutil.disk_usage(path)
        except OSError:
            continue
        known = disks.get(device)
        disks[device] = Disk(f"{known.name}, {name}" if known else name, known.path if known else path,
                             usage.free, usage.total)  # fmt: skip
    return [*disks.values()]


def local_folder(location: str) -> Path | None:
    """The folder of a warehouse on this machine; None for a warehouse in an object store.

    As in pyiceberg, the path is not percent-decoded.
    """
    url = urlparse(location)
    return Path(url.path) if url.scheme in {"", "file"} else None


def no_space(error: BaseException | None) -> BaseException | None:
    """The innermost error behind a failure, or itself, that says that a disk is full; None if none does."""
    found = None
    while error is not None:
        is_errno = isinstance(error, OSError) and error.errno in _NO_SPACE
        if is_errno or any(message in str(error).lower() for message in _MESSAGES):
            found = error
        error = error.__cause__ or error.__context__
    return found
