"""Adds to the Native blocks of a result what the client's protocol revision expects.

The engine writes blocks as in a file: without time zones in the types of DateTime columns, and without the byte that
says how each column is serialised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from deploy.embedded.clickhouse.errors import NOT_IMPLEMENTED, EngineError, refusal
from deploy.embedded.clickhouse.native_format.packets import CUSTOM_SERIALIZATION, TIME_ZONES, string, varint
from deploy.embedded.clickhouse.native_format.skipper import Column, read_head, skip_block, skip_column
from deploy.embedded.clickhouse.native_format.source import ByteSource, EmptyFeed

_BARE = "DateTime"
_ORDINARY = b"\x00"  # no custom serialisation
_HEAD_BYTES = 20  # two numbers
# Values may look like the head of a column, also on purpose. So the search for a column's end is limited.
_MOST_TRIES = 1_000

Described = Sequence[tuple[str, str]]


class ResultBlocks:
    """Completes the blocks of one result.

    Attributes:
        columns: names and full types.
    """

    def __init__(self, first: bytes, describe: Callable[[], Described], revision: int) -> None:
        """Take the columns from the first block and, if that is not enough, from `describe`.

        Args:
            first: the result's first block.
            describe: gives the columns with their full types; empty if it cannot.
            revision: the client's protocol revision.

        Raises:
            EngineError: 48 if bytes have to be added between columns, and only the engine knows where a column ends.
        """
        self._has_flags = revision >= CUSTOM_SERIALIZATION
        self._described: Described = ()
        columns = _walk(first)
        if columns is None or (revision >= TIME_ZONES and any(column.type_name == _BARE for column in columns)):
            self._described = describe()
        if columns is None:
            columns = _find(first, self._described) if self._has_flags or not self._described else []
        self.columns: Described = [(column.name, column.type_name) for column in columns] or self._described
        self._zoned: dict[int, bytes] = {}
        if len(self._described) == len(self.columns):
            self._zoned = {i: string(kind) for i, (_, kind) in enumerate(self._described) if _is_zoned(kind)}
            self.columns = [
                (name, self._described[index][1] if index in self._zoned else kind)
                for index, (name, kind) in enumerate(self.columns)
            ]
        self._must_walk = self._has_flags or bool(self._zoned)

    @property
    def header(self) -> bytes:
        """A block of no rows with the result's columns."""
        return header_block(self.columns, has_flags=self._has_flags)

    def complete(self, block: bytes) -> bytes:
        """The block with full DateTime types, and with the bytes that the client's revision expects.

        Raises:
            EngineError: 48 if only the engine knows where a column ends.
        """
        if not self._must_walk:
            return block
        columns = _walk(block) or _find(block, self._described or self.columns)
        flag = _ORDINARY if self._has_flags else b""
        parts, copied = [], 0
        for index, column in enumerate(columns):
            if index in self._zoned:
                parts += [block[copied : column.type_start], self._zoned[index], flag]
            else:
                parts += [block[copied : column.type_end], flag]
            copied = column.type_end
        return b"".join([*parts, block[copied:]])


class ResultSize:
    """The size of a result so far: rows, blocks and bytes."""

    def __init__(self) -> None:
        self.rows = self.blocks = self.bytes = 0

    def add(self, block: bytes) -> None:
        """Count a block."""
        head = ByteSource(EmptyFeed(), block[:_HEAD_BYTES])
        head.varint()  # columns
        self.rows += head.varint()
        self.blocks += 1
        self.bytes += len(block)


def renamed(block: bytes, names: Sequence[str]) -> bytes:
    """The block with other names for its columns.

    Raises:
        EngineError: 48 if only the engine knows where a column ends.
    """
    parts, copied = [], 0
    for column, name in zip(skip_block(ByteSource(EmptyFeed(), block))[0], names, strict=True):
        parts += [block[copied : column.type_start - len(string(column.name))], string(name)]
        copied = column.type_start
    return b"".join([*parts, block[copied:]])


def header_block(columns: Described, *, has_flags: bool) -> bytes:
    """A block of no rows with these columns (name, type)."""
    flag = _ORDINARY if has_flags else b""
    return varint(len(columns)) + varint(0) + b"".join(string(name) + string(kind) + flag for name, kind in columns)


def _is_zoned(kind: str) -> bool:
    return kind.startswith(f"{_BARE}(")


def _walk(block: bytes) -> list[Column] | None:
    """The block's columns; None if it has a type of which only the engine knows where a column ends."""
    try:
        return skip_block(ByteSource(EmptyFeed(), block))[0]
    except EngineError:
        return None


def _find(block: bytes, described: Described) -> list[Column]:
    """The columns of a block with types of which only the engine knows where a column ends.

    Such a column can end where the name and type of the next one follow, and the block can be read from there to its
    last byte. If there is exactly one such place, the column ends there.
    """
    source = ByteSource(EmptyFeed(), block)
    count, rows = source.varint(), source.varint()
    if count == 1:
        described = [("", "")]  # a single column ends with the block, whatever its type
    if count == len(described):
        found = list(islice(_readings(source, source.position, rows, described, iter(range(_MOST_TRIES))), 2))
        if len(found) == 1:
            return found[0]
    raise _ambiguous()


def _ambiguous() -> EngineError:
    reason = "The end of a column of this type cannot be found: select the column last, convert it, or read over HTTP"
    return refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)


def _readings(
    source: ByteSource, start: int, rows: int, described: Described, tries: Iterator[int]
) -> Iterator[list[Column]]:
    """Every way to read the described columns from `start` so that they end with the block.

    Raises:
        EngineError: 48 if there are no more `tries`.
    """
    if next(tries, None) is None:
        raise _ambiguous()
    source.position = start
    columns: list[Column] = []
    try:
        for _ in described:
            columns.append(read_head(source))
            if not _is_walkable(columns[-1]):
                break
            skip_column(source, columns[-1], rows)
        else:
            if source.position == len(source.buffer):
                yield columns
            return
    except (EngineError, ConnectionError):  # what looked like the head of a column was a value
        return
    rest = described[len(columns) :]
    if not rest:
        yield columns
        return
    for place in _places(source, source.position, rest[0]):
        yield from ([*columns, *others] for others in _readings(source, place, rows, rest, tries))


def _places(source: ByteSource, start: int, following: tuple[str, str]) -> Iterator[int]:
    """Where the head of the following column may be."""
    name, kind = following
    head = string(name) + string(_BARE if _is_zoned(kind) else kind)
    place = source.buffer.find(head, start)
    while place >= 0:
        yield place
        place = source.buffer.find(head, place + 1)


def _is_walkable(column: Column) -> bool:
    """Whether the end of a column of this type can be found without the engine."""
    try:
        skip_column(ByteSource(EmptyFeed()), column, 0)
    except EngineError:
        return False
    return True
