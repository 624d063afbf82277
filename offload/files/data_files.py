"""Files of the warehouse: which there are, which a snapshot names, which a dead process left, and their removal.

The offload of a slice removes the files that dead attempts at that slice left (`offload.files.commit`). A merged file
or a re-derived one belongs to no slice that is sure to be committed again. So its name says which process wrote it, and
it is removed once that process is gone.
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

# A merge commits within half of this time or not at all. So an older merged file that no snapshot names is abandoned.
LEASE_SECONDS = 6 * 3600.0
_START_TOLERANCE_S = 2.0
_PARTS = 4


def list_files(table: Table, folder: str, *, recursive: bool = True) -> Iterator[tuple[str, FileInfo]]:
    """The files of a folder of the table and the store's information on each; none if there is no such folder.

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
    """A name for one attempt: unique, then this process's machine, number and start (s). Its files begin with it."""
    return f"{uuid4().hex}.{_machine()}.{os.getpid()}.{psutil.Process().create_time():.0f}"


def remove_abandoned(table: Table, folder: str, lease_seconds: float | None = None) -> list[str]:
    """Delete files below a folder that dead processes of this machine wrote and no snapshot names; returns their paths.

    `lease_seconds`: older files that no snapshot names are deleted too, whoever wrote them. `table` is refreshed where
    there is such a file.

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
    # The table is loaded after the process was found dead: it commits nothing any more.
    named = referenced_files(table.refresh())
    dead = [path for path in candidates if path not in named]
    for path in dead:
        remove(table.io, path)
    return dead


def names_process(path: str) -> bool:
    """Whether the file's name says which process wrote it, as `process_attempt` does."""
    return len(_owner(path)) == _PARTS


def _owner(path: str) -> list[str]:
    return path.rpartition("/")[2].partition("-")[0].split(".")


def _is_dead(path: str) -> bool:
    """Whether the file was written by a process of this machine that no longer runs, as its name says."""
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
    """What process numbers are relative to: this host, its boot, its PID namespace."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text(encoding="ascii").strip())
        except OSError:
            # Not Linux: a value that never comes again, so that no process counts as dead too early.
            parts.append(uuid4().hex)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
