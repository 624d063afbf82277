"""Keeps the bounds of the block that is being inserted, so that a node that was killed repeats the same block."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from deploy.embedded.clickhouse.kafka.blocks import Bounds, Partition


class UnderWay:
    """The file of one source. The kernel keeps written bytes however the process ends, so nothing is synced."""

    def __init__(self, path: Path) -> None:
        """Use this file. Its folder is created if it is missing."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._next = path.with_suffix(".next")

    def write(self, bounds: Mapping[Partition, Bounds]) -> None:
        """Record the bounds of the next block in place of the last one's.

        Raises:
            OSError: the file cannot be written.
        """
        listed = [[topic, number, first, following] for (topic, number), (first, following) in bounds.items()]
        self._next.write_bytes(orjson.dumps(listed))
        self._next.replace(self._path)

    def read(self) -> dict[Partition, Bounds]:
        """The bounds of the last block, inserted or not; empty before the first one."""
        with suppress(FileNotFoundError):
            listed = orjson.loads(self._path.read_bytes())
            return {(topic, number): (first, following) for topic, number, first, following in listed}
        return {}

    def forget(self) -> None:
        """Remove the file. Call it when the source is gone."""
        self._path.unlink(missing_ok=True)
