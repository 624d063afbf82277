"""Finds the end of a Native block from its column types, without decoding values: a block does not say its length.

Source of the layouts: ClickHouse's `src/DataTypes/Serializations`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, NOT_IMPLEMENTED, refusal
from deploy.embedded.clickhouse.native_format import dynamic
from deploy.embedded.clickhouse.native_format.layouts import (
    Layout,
    array,
    fixed,
    in_turn,
    low_cardinality,
    nullable,
    plain,
)
from deploy.embedded.clickhouse.native_format.source import ByteSource
from deploy.embedded.clickhouse.native_format.types import TypeNode, bad_type, parse_type

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
_MOST_ELEMENTS = 1_000
_SKIPS = re.compile(r"SKIP\b", re.IGNORECASE)
_MOST_COLUMNS = 10_000
_TYPE_BYTES = 1 << 18

Types = tuple[TypeNode, ...]


@dataclass(frozen=True)
class Column:
    """A column of a block: its name and type, and the position of the type's text in the buffer."""

    name: str
    type_name: str
    type_start: int
    type_end: int


def skip_block(source: ByteSource, *, has_flags: bool = False) -> tuple[list[Column], int]:
    """Read one block (column count, row count, columns) and leave it in the buffer.

    Args:
        source: positioned after the block info.
        has_flags: after each type a byte says whether the column has a custom serialisation.

    Returns:
        its columns and its number of rows.

    Raises:
        EngineError: 48 for a type whose values only the engine can read, or for a custom serialisation, 50 for a text
            that is no type, 12 for an impossible size.
    """
    count, rows = source.varint(), source.varint()
    if count > _MOST_COLUMNS:
        raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", f"A block of {count} columns; {_MOST_COLUMNS} are allowed")
    columns = []
    for _ in range(count):
        column = read_head(source)
        columns.append(column)
        if has_flags and source.integer(1):
            reason = f"Column {column.name} has a custom serialisation (sparse): send it in the ordinary one"
            raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
        if rows:
            skip_column(source, column, rows)
    return columns, rows


def read_head(source: ByteSource) -> Column:
    """A column's name and type."""
    name, start = source.string(_TYPE_BYTES), source.position
    return Column(name, source.string(_TYPE_BYTES), start, source.position)


def skip_column(source: ByteSource, column: Column, rows: int) -> None:
    """Read past the values of a column. A column of no rows has no bytes, not even a prefix.

    Raises:
        EngineError: as `skip_block`.
    """
    layout = layout_of(column.type_name)
    if not rows:
        return
    try:
        layout(source)(source, rows)
    except RecursionError:  # a Dynamic may hold a Dynamic, and only the data says how many levels there are
        raise bad_type("types that nest deeper than any table needs") from None


@lru_cache(maxsize=4096)
def layout_of(type_name: str) -> Layout:
    """The layout of a ClickHouse type, `Array(Nullable(String))`.

    Raises:
        EngineError: 48 for AggregateFunction and types unknown here, 50 for a text that is no type.
    """
    return _layout(parse_type(type_name))


def _layout(node: TypeNode) -> Layout:
    width = _width(node)
    if width is not None:
        return fixed(width)
    if node.name in _GEO:
        return layout_of(_GEO[node.name])
    if node.name == "String":
        return plain(ByteSource.skip_strings)
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


def _tuple(inner: Types) -> Layout:
    return in_turn([_layout(element) for element in inner]) if inner else fixed(1)


def _low_cardinality(inner: Types) -> Layout:
    is_nullable = inner[0].name == "Nullable" and len(inner[0].inner) == 1
    return low_cardinality(_layout(inner[0].inner[0] if is_nullable else inner[0]))


def _json(inner: Types) -> Layout:
    """Only arguments with a type are declared paths. The others are limits, and SKIP with paths that are not kept."""
    typed = sorted((node for node in inner if node.label and not _SKIPS.match(node.label)), key=lambda node: node.label)
    return dynamic.json([_layout(node) for node in typed], layout_of)


# By name of the type: the least and the largest number of its arguments, and its layout.
_COMPOSITES: dict[str, tuple[int, int, Callable[[Types], Layout]]] = {
    "Nullable": (1, 1, lambda inner: nullable(_layout(inner[0]))),
    "Array": (1, 1, lambda inner: array(_layout(inner[0]))),
    "Tuple": (0, _MOST_ELEMENTS, _tuple),
    "Map": (2, 2, lambda inner: array(_tuple(inner))),
    "Nested": (1, _MOST_ELEMENTS, lambda inner: array(_tuple(inner))),
    "LowCardinality": (1, 1, _low_cardinality),
    "SimpleAggregateFunction": (2, 2, lambda inner: _layout(inner[1])),
    "Variant": (1, dynamic.MOST_VARIANTS, lambda inner: dynamic.variant([_layout(node) for node in inner])),
    "Dynamic": (0, 1, lambda _: dynamic.dynamic(layout_of)),
    "JSON": (0, _MOST_ELEMENTS, _json),
}
