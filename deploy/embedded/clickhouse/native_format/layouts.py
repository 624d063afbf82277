"""How the values of a column are laid out in a Native block, as far as needed to find where they end.

Source of the layouts: ClickHouse's `src/DataTypes/Serializations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.embedded.clickhouse.native_format.source import ByteSource
from deploy.embedded.clickhouse.native_format.types import bad_type

_HAS_ADDITIONAL_KEYS = 1 << 9
_WIDEST_INDEX = 3  # 2^3 bytes

# Reads past the values of a number of rows.
Walk = Callable[[ByteSource, int], None]
# Reads past the prefix of a column, and returns the function for its values. All prefixes of an outermost column come
# before its first value.
Layout = Callable[[ByteSource], Walk]


def plain(walk: Walk) -> Layout:
    """Values without a prefix, as most types have."""
    return lambda _: walk


def fixed(width: int) -> Layout:
    """Values of `width` bytes."""
    return plain(lambda source, rows: source.skip(width * rows))


def nullable(value: Layout) -> Layout:
    """A byte for each row, then a value for each row, also for NULL."""

    def prefix(source: ByteSource) -> Walk:
        values = value(source)

        def walk(source: ByteSource, rows: int) -> None:
            source.skip(rows)
            values(source, rows)

        return walk

    return prefix


def array(element: Layout) -> Layout:
    """For each row, eight bytes that say where its elements end; then the elements of all rows."""

    def prefix(source: ByteSource) -> Walk:
        elements = element(source)

        def walk(source: ByteSource, rows: int) -> None:
            if rows:
                source.skip(8 * (rows - 1))
                elements(source, source.integer(8))

        return walk

    return prefix


def in_turn(layouts: Sequence[Layout]) -> Layout:
    """Columns of the same number of rows, one after the other. All their prefixes come first."""

    def prefix(source: ByteSource) -> Walk:
        walks = [layout(source) for layout in layouts]

        def walk(source: ByteSource, rows: int) -> None:
            for one in walks:
                one(source, rows)

        return walk

    return prefix


def low_cardinality(key: Layout) -> Layout:
    """Keys, then an index of 1, 2, 4 or 8 bytes for each row."""

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
