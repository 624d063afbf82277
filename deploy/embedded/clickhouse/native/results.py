"""What a result's Native blocks lack on the wire: a header block, and the time zones of DateTime columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.native.packets import string
from deploy.embedded.clickhouse.native.skipper import Column, skip_block
from deploy.embedded.clickhouse.native.source import ByteSource, EmptyFeed

# Without a protocol revision the engine formats blocks as for a client that does not know `DateTime('UTC')` yet.
_BARE = string("DateTime")
# A smaller block is walked sooner than the engine describes its query.
_QUICK_WALK_BYTES = 1 << 15


class ResultBlocks:
    """Completes the blocks of one result."""

    def __init__(self, first: bytes, describe: Callable[[], list[tuple[str, str]]]) -> None:
        """Learn the columns from the first block or, where that is not enough, from `describe`.

        Args:
            first: the result's first block.
            describe: gives the columns with their full types; empty where it cannot.
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
    except EngineError:  # holds a type that only the engine can delimit
        return []
