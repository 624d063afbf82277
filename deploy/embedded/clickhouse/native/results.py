"""Adds to a result's Native blocks what clients need: a header block, and the time zones of DateTime columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.native.packets import string
from deploy.embedded.clickhouse.native.skipper import Column, skip_block
from deploy.embedded.clickhouse.native.source import ByteSource, EmptyFeed

# chDB formats blocks for a client so old that it does not know `DateTime('UTC')`.
_BARE = string("DateTime")
# Walking a smaller block takes less time than asking the engine to describe its query.
_QUICK_WALK_BYTES = 1 << 15


class ResultBlocks:
    """Completes the blocks of one result."""

    def __init__(self, first: bytes, describe: Callable[[], list[tuple[str, str]]]) -> None:
        """Take the columns from the first block or, if it lacks full types, from `describe`.

        Args:
            first: the result's first block.
            describe: gives the columns with their full types; empty if it cannot.
        """
        described = describe() if _BARE in first or len(first) > _QUICK_WALK_BYTES else []
        self.columns: Sequence[tuple[str, str]] = described or [
            (column.name, column.type_name) for column in _walk(first)
        ]
        self._zoned = {index: string(kind) for index, (_, kind) in enumerate(described) if kind.startswith("DateTime(")}

    def complete(self, block: bytes) -> bytes:
        """The block with full DateTime types."""
        if not self._zoned:
            return block
        columns = _walk(block, max(self._zoned) + 1)
        if not columns:
            return block
        parts, copied = [], 0
        for index, full in self._zoned.items():
            parts += [block[copied : columns[index].type_start], full]
            copied = columns[index].type_end
        return b"".join([*parts, block[copied:]])


def _walk(block: bytes, columns: int | None = None) -> list[Column]:
    try:
        return skip_block(ByteSource(EmptyFeed(), block), columns)[0]
    except EngineError:  # has a type whose end only the engine can find
        return []
