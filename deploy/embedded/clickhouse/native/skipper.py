"""Finds the end of a Native block from its column types, without decoding values.

Layouts: ClickHouse's `src/DataTypes/Serializations`. Blocks are not length-prefixed on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, NOT_IMPLEMENTED, refusal
from deploy.embedded.clickhouse.native.source import ByteSource
from deploy.embedded.clickhouse.native.types import TypeNode, bad_type, parse_type

_WIDTHS = {
    **{f"{sign}Int{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)},
    "Float32": 4,
    "Float64": 8,
    "BFloat16": 2,
    "Bool": 1,
    "Nothing": 1,
    "UUID": 16,
    "IPv4": 4,
    "IPv6": 16,
    "Date": 2,
    "Date32": 4,
    "DateTime": 4,
    "DateTime64": 8,
    "Time": 4,
    "Time64": 8,
    "Enum8": 1,
    "Enum16": 2,
    "Decimal32": 4,
    "Decimal64": 8,
    "Decimal128": 16,
    "Decimal256": 32,
}
_GEO = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "MultiLineString": "Array(LineString)",
    "Polygon": "Array(Ring)",
    "MultiPolygon": "Array(Polygon)",
}
_DECIMAL_WIDTHS = ((9, 4), (18, 8), (38, 16), (76, 32))
_MOST_DIGITS = 76
_LONGEST_FIXED_STRING = 0xFFFFFF
_HAS_ADDITIONAL_KEYS = 1 << 9
_WIDEST_INDEX = 3  # 2^3 bytes
_MOST_ELEMENTS = 1_000
_MOST_COLUMNS = 10_000
_TYPE_BYTES = 1 << 18

Types = tuple[TypeNode, ...]
Walk = Callable[[ByteSource, int], None]


@dataclass(frozen=True)
class Layout:
    """The layout of a column in a block: a prefix (once, before the data of its outermost column), then the rows."""

    prefix: Callable[[ByteSource], None]
    rows: Walk


@dataclass(frozen=True)
class Column:
    """A column of a block: its name and type, and the position of the type's text in the buffer."""

    name: str
    type_name: str
    type_start: int
    type_end: int


def skip_block(source: ByteSource, columns_to_walk: int | None = None) -> tuple[list[Column], int]:
    """Read one block (column count, row count, columns) and leave it in the buffer.

    Args:
        source: positioned after the block info.
        columns_to_walk: stop after this many columns; None for all.

    Returns:
        its columns and its number of rows.

    Raises:
        EngineError: 48 for a type whose end only the engine can find, 50 for text that is no type, 12 for an impossible
            size.
    """
    count, rows = source.varint(), source.varint()
    if count > _MOST_COLUMNS:
        raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", f"A block of {count} columns; {_MOST_COLUMNS} are allowed")
    columns = []
    for _ in range(count if columns_to_walk is None else min(count, columns_to_walk)):
        name, start = source.string(_TYPE_BYTES), source.position
        type_name = source.string(_TYPE_BYTES)
        columns.append(Column(name, type_name, start, source.position))
        if rows:
            layout = layout_of(type_name)
            layout.prefix(source)
            layout.rows(source, rows)
    return columns, rows


@lru_cache(maxsize=4096)
def layout_of(type_name: str) -> Layout:
    """The layout of a ClickHouse type, `Array(Nullable(String))`.

    Raises:
        EngineError: 48 for AggregateFunction, JSON, Dynamic, Variant and types unknown here, 50 for text that is no
            type.
    """
    return _layout(parse_type(type_name))


def _layout(node: TypeNode) -> Layout:
    width = _width(node)
    if width is not None:
        return _fixed(width)
    if node.name in _GEO:
        return layout_of(_GEO[node.name])
    if node.name == "String":
        return Layout(_no_prefix, ByteSource.skip_strings)
    composite = _COMPOSITES.get(node.name)
    if composite is None:
        reason = f"Columns of type {node.name} cannot be inserted over the native protocol here; insert over HTTP"
        raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
    least, most, build = composite
    if not least <= len(node.inner) <= most:
        raise bad_type(f"{node.name} of {len(node.inner)} types")
    return build(node.inner)


def _width(node: TypeNode) -> int | None:
    """Bytes of a value of a fixed-width type; None for other types."""
    if node.name.startswith("Interval"):
        return 8
    if node.name == "FixedString":
        return _number(node, _LONGEST_FIXED_STRING)
    if node.name == "Decimal":
        digits = _number(node, _MOST_DIGITS)
        return next(width for most, width in _DECIMAL_WIDTHS if digits <= most)
    return _WIDTHS.get(node.name)


def _number(node: TypeNode, most: int) -> int:
    """The first argument of a type: a number from 1 to `most`."""
    text = node.inner[0].name if node.inner else ""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise bad_type(f"{node.name} of {text[:20]!r}; it takes 1 to {most}")
    return int(text)


def _no_prefix(_: ByteSource) -> None:
    """Most types have no prefix."""


def _fixed(width: int) -> Layout:
    return Layout(_no_prefix, lambda source, rows: source.skip(width * rows))


def _nullable(inner: Types) -> Layout:
    value = _layout(inner[0])

    def walk(source: ByteSource, rows: int) -> None:
        source.skip(rows)
        value.rows(source, rows)

    return Layout(value.prefix, walk)


def _array(inner: Types) -> Layout:
    return _array_of(_layout(inner[0]))


def _array_of(element: Layout) -> Layout:
    def walk(source: ByteSource, rows: int) -> None:
        if rows:
            source.skip(8 * (rows - 1))
            element.rows(source, source.integer(8))

    return Layout(element.prefix, walk)


def _tuple(inner: Types) -> Layout:
    elements = [_layout(element) for element in inner]
    if not elements:
        return _fixed(1)

    def prefix(source: ByteSource) -> None:
        for element in elements:
            element.prefix(source)

    def walk(source: ByteSource, rows: int) -> None:
        for element in elements:
            element.rows(source, rows)

    return Layout(prefix, walk)


def _low_cardinality(inner: Types) -> Layout:
    is_nullable = inner[0].name == "Nullable" and len(inner[0].inner) == 1
    keys = _layout(inner[0].inner[0] if is_nullable else inner[0])

    def walk(source: ByteSource, rows: int) -> None:
        if not rows:
            return
        flags = source.integer(8)
        if flags & _HAS_ADDITIONAL_KEYS:
            keys.rows(source, source.integer(8))
        if flags & 0xFF > _WIDEST_INDEX:
            raise bad_type("LowCardinality with an index of an unknown width")
        source.skip(source.integer(8) << (flags & 0xFF))

    return Layout(lambda source: source.skip(8), walk)


# By name: the least and the largest number of inner types, and the layout.
_COMPOSITES: dict[str, tuple[int, int, Callable[[Types], Layout]]] = {
    "Nullable": (1, 1, _nullable),
    "Array": (1, 1, _array),
    "Tuple": (0, _MOST_ELEMENTS, _tuple),
    "Map": (2, 2, lambda inner: _array_of(_tuple(inner))),
    "Nested": (1, _MOST_ELEMENTS, lambda inner: _array_of(_tuple(inner))),
    "LowCardinality": (1, 1, _low_cardinality),
    "SimpleAggregateFunction": (2, 2, lambda inner: _layout(inner[1])),
}
