"""Tells from the folder of a MergeTree table when an insert has added parts. It asks ClickHouse nothing."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

# A part's folder is `<partition>_<first block>_<last block>_<level>`. A part of one block is of an insert, not a merge.
_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>[0-9]+)_(?P<last>[0-9]+)_[0-9]+(_[0-9]+)?")
# File systems round times, many of them to the kernel's tick of 4 or 10 ms. A folder that has just changed may change
# again without another time.
_ROUNDED_NS = 20_000_000


class NewParts:
    """The parts that inserts have added to one table of a node on this machine."""

    def __init__(self, folder: Path, partitions: str = "") -> None:
        """Args:
        folder: the table's, from `data_paths` of `system.tables`.
        partitions: only those whose names begin so.
        """
        self._folder, self._partitions = folder, partitions
        self._changed_ns = -1
        self._known: set[str] = set()

    def have_come(self) -> bool:
        """Whether an insert has added a part since the last call.

        Raises:
            OSError: the folder cannot be read.
        """
        changed_ns = self._folder.stat().st_mtime_ns
        if changed_ns == self._changed_ns < time.time_ns() - _ROUNDED_NS:
            return False
        self._changed_ns = changed_ns
        with os.scandir(self._folder) as entries:
            names = {entry.name for entry in entries if entry.name.startswith(self._partitions)}
        new, self._known = names - self._known, names
        parts = (_PART.fullmatch(name) for name in new)
        return any(part and part["first"] == part["last"] for part in parts)
