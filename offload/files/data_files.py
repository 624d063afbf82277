"""Files that tell which process writes them, and the removal of those whose process has died.

The offload of a slice removes what dead attempts at that slice left (`offload.files.commit.remove_dead`). A merged
file and a re-derived one belong to no slice that somebody is sure to commit again, so their names say whose they are.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import psutil
from pyiceberg.table import Table

from offload.files.commit import referenced_files
from offload.files.folder import list_files, remove

# A merge commits within half of this or not at all, so that an older merged file that nothing names is nobody's.
LEASE_SECONDS = 6 * 3600.0
_START_TOLERANCE_S = 2.0
_PARTS = 4


def process_attempt() -> str:
    """A name for one try, with which its files begin: unique, and this process's place, number and start (s)."""
    return f"{uuid4().hex}.{_place()}.{os.getpid()}.{psutil.Process().create_time():.0f}"


def remove_abandoned(table: Table, folder: str, lease_seconds: float | None = None) -> list[str]:
    """Delete what dead processes of this machine left below a folder and no snapshot names; returns what went.

    `lease_seconds`: whatever is older goes, too, whoever wrote it. `table` is read again if there is any such file.

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
    # Loaded after the process was found dead: it commits nothing any more.
    named = referenced_files(table.refresh())
    dead = [path for path in candidates if path not in named]
    for path in dead:
        remove(table.io, path)
    return dead


def _is_dead(path: str) -> bool:
    """Whether the name says that a process of this place wrote the file, and that process is gone."""
    owner = path.rpartition("/")[2].partition("-")[0].split(".")
    if len(owner) != _PARTS or owner[1] != _machine():
        return False
    try:
        started = psutil.Process(int(owner[2])).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(started - float(owner[3])) > _START_TOLERANCE_S


@lru_cache(maxsize=1)
def _machine() -> str:
    """Where a process number means the same process: this host since it started, and this space of numbers."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text(encoding="ascii").strip())
        except OSError:
            # Not Linux: a place that is never this one again, so that nothing counts as dead too early.
            parts.append(uuid4().hex)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
