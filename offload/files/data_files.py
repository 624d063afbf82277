"""Lists the files of the warehouse, and removes those that a dead process left and no snapshot names.

The offload of a slice removes the files of failed attempts at that slice (`offload.files.commit`). But it
may be that no offload comes back to the slices of a merged or re-derived file. So the name of such a file contains the
process that wrote it, and the file is removed when that process is gone.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import psutil
from pyarrow.fs import FileInfo, FileSelector, FileType
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from offload.errors import WarehouseError

# A merge commits within half of this time or not at all. So an older merged file that no snapshot names is an orphan.
LEASE_SECONDS = 6 * 3600.0
_START_TOLERANCE_S = 2.0
_PARTS = 4


def list_files(table: Table, folder: str, *, recursive: bool = True) -> Iterator[tuple[str, FileInfo]]:
    """The files of a folder of the table, each with its size and time; none if there is no such folder.

    Raises:
        WarehouseError: the table's file access cannot list files.
    """
    if not isinstance(table.io, PyArrowFileIO):
        raise WarehouseError(f"Cannot list {folder}: set py-io-impl to pyiceberg.io.pyarrow.PyArrowFileIO.")
    scheme, netloc, root = PyArrowFileIO.parse_location(folder)
    selector = FileSelector(root, recursive=recursive, allow_not_found=True)
    for info in table.io.fs_by_scheme(scheme, netloc).get_file_info(selector):
        if info.type == FileType.File:
            yield folder + info.path.removeprefix(root), info


def remove(io: FileIO, path: str) -> None:
    """Delete a file if it exists."""
    try:
        io.delete(path)
    except FileNotFoundError:
        return


def referenced_files(table: Table) -> set[str]:
    """The data files that any snapshot of the table reads."""
    manifests = {
        manifest.manifest_path: manifest
        for snapshot in table.metadata.snapshots
        for manifest in snapshot.manifests(table.io)
    }
    return {
        entry.data_file.file_path
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }


def process_attempt() -> str:
    """The name of a new attempt; the names of its files begin with it.

    It has a unique part, then machine, process id and start (s since the epoch) of this process.
    """
    return f"{uuid4().hex}.{_machine()}.{os.getpid()}.{psutil.Process().create_time():.0f}"


def remove_abandoned(table: Table, folder: str, lease_seconds: float | None = None) -> list[str]:
    """Delete files below a folder that dead processes of this machine wrote and no snapshot names; returns their paths.

    `lease_seconds`: older files that no snapshot names are deleted too, whichever process wrote them. `table` is
    refreshed if there is a candidate.

    Raises:
        WarehouseError: see `list_files`.
    """
    oldest = None if lease_seconds is None else time.time() - lease_seconds
    candidates = [
        path
        for path, info in list_files(table, folder)
        if _is_dead(path) or (oldest is not None and info.mtime is not None and info.mtime.timestamp() < oldest)
    ]
    if not candidates:
        return []
    # Load the table now: a process that was found dead before makes no further commit.
    named = referenced_files(table.refresh())
    dead = [path for path in candidates if path not in named]
    for path in dead:
        remove(table.io, path)
    return dead


def names_process(path: str) -> bool:
    """Whether the file's name has the process that wrote it (`process_attempt`)."""
    return len(_owner(path)) == _PARTS


def _owner(path: str) -> list[str]:
    return path.rpartition("/")[2].partition("-")[0].split(".")


def _is_dead(path: str) -> bool:
    """Whether the file's name has a process of this machine that no longer runs."""
    owner = _owner(path)
    if len(owner) != _PARTS or owner[1] != _machine():
        return False
    try:
        started = psutil.Process(int(owner[2])).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(started - float(owner[3])) > _START_TOLERANCE_S


@lru_cache(maxsize=1)
def _machine() -> str:
    """A digest of host, boot and PID namespace. A process id is unique only within these."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text(encoding="ascii").strip())
        except OSError:
            # Not Linux. A value that never repeats, so that no running process counts as dead.
            parts.append(uuid4().hex)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
