"""How columns lie in a Native block: just enough to find where they end.

Layouts: ClickHouse's `src/DataTypes/Serializations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.embedded.clickhouse.native_format.source import ByteSource
from deploy.embedded.clickhouse.native_format.types import bad_type

_HAS_ADDITIONAL_KEYS = 1 << 9
_WIDEST_INDEX = 3  # 2^3 bytes

# Reads the values of so many rows.
Walk = Callable[[ByteSource, int], None]
# Reads a column's prefix, which stands once ahead of all values of its outermost column; gives how these lie.
Layout = Callable[[ByteSource], Walk]


def plain(walk: Walk) -> Layout:
    """Values without a prefix, as most types have them."""
    return lambda _: walk


def fixed(width: int) -> Layout:
    """Values of `width` bytes."""
    return plain(lambda source, rows: source.skip(width * rows))


def nullable(value: Layout) -> Layout:
    """A byte a row, and a value also where there is none."""

    def prefix(source: ByteSource) -> Walk:
        values = value(source)

        def walk(source: ByteSource, rows: int) -> None:
            source.skip(rows)
            values(source, rows)

        return walk

    return prefix


def array(element: Layout) -> Layout:
    """Where each row's elements end, eight bytes each, then the elements of all rows."""

    def prefix(source: ByteSource) -> Walk:
        elements = element(source)

        def walk(source: ByteSource, rows: int) -> None:
            if rows:
                source.skip(8 * (rows - 1))
                elements(source, source.integer(8))

        return walk

    return prefix


def in_turn(layouts: Sequence[Layout]) -> Layout:
    """Columns of equally many rows, one after the other; all their prefixes stand first."""

    def prefix(source: ByteSource) -> Walk:
        walks = [layout(source) for layout in layouts]

        def walk(source: ByteSource, rows: int) -> None:
            for one in walks:
                one(source, rows)

        return walk

    return prefix


def low_cardinality(key: Layout) -> Layout:
    """Keys and an index of 1, 2, 4 or 8 bytes a row."""

    def prefix(source: ByteSource) -> Walk:
        source.skip(8)
        keys = key(source)

        def walk(source: ByteSource, rows: int) -> None:
            if not rows:
                return
            flags = source.integer(8)
            if flags & _HAS_ADDITIONAL_KEYS:
                keys(source, source.integer(8))
            if flags & 0xFF > _WIDEST_INDEX:
                raise bad_type("LowCardinality with an index of an unknown width")
            source.skip(source.integer(8) << (flags & 0xFF))

        return walk

    return prefix
