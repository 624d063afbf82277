"""Keeps the bounds of the block that is being inserted: a node that was killed makes the very same block again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from deploy.embedded.clickhouse.kafka.blocks import Bounds, Partition


class UnderWay:
    """One source's file. The kernel keeps what was written whatever ends the process, so nothing is synced."""

    def __init__(self, path: Path) -> None:
        """Use this file; its folder is created."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._next = path.with_suffix(".next")

    def write(self, bounds: Mapping[Partition, Bounds]) -> None:
        """Remember the block that is inserted next instead of the one before.

        Raises:
            OSError: it cannot be written.
        """
        listed = [[topic, number, first, following] for (topic, number), (first, following) in bounds.items()]
        self._next.write_bytes(orjson.dumps(listed))
        self._next.replace(self._path)

    def read(self) -> dict[Partition, Bounds]:
        """The bounds of the block that was inserted last or not to its end; none before the first one."""
        with suppress(FileNotFoundError):
            listed = orjson.loads(self._path.read_bytes())
            return {(topic, number): (first, following) for topic, number, first, following in listed}
        return {}

    def forget(self) -> None:
        """Remove the file: the source is gone."""
        self._path.unlink(missing_ok=True)
