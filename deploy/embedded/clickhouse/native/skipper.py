"""Find the end of a Native block by walking its column types, without decoding a value.

Layouts: ClickHouse's `src/DataTypes/Serializations`. Blocks are not length-prefixed on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from deploy.embedded.clickhouse.errors import NOT_IMPLEMENTED, refusal
from deploy.embedded.clickhouse.native.source import Source

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
_HAS_ADDITIONAL_KEYS = 1 << 9
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.)*`|[A-Za-z_][\w.]*)\s+(?=[A-Za-z])")

Walk = Callable[[Source, int], None]


@dataclass(frozen=True)
class Layout:
    """How a column lies in a block: a prefix (once, ahead of the data of its outermost column), then the rows."""

    prefix: Callable[[Source], None]
    rows: Walk


@dataclass(frozen=True)
class Column:
    """A column of a walked block: its name and type, and where in the buffer the type's text stands."""

    name: str
    type_name: str
    type_start: int
    type_end: int


def skip_block(source: Source, columns_to_walk: int | None = None) -> tuple[list[Column], int]:
    """Read one block (column count, row count, columns), leaving it in the buffer.

    Args:
        source: positioned after the block info.
        columns_to_walk: stop after this many columns, default all.

    Returns:
        its columns and its number of rows.

    Raises:
        EngineError: 48 for a type whose values only the engine can delimit.
    """
    count, rows = source.varint(), source.varint()
    columns = []
    for _ in range(count if columns_to_walk is None else min(count, columns_to_walk)):
        name, start = source.string(), source.position
        type_name = source.string()
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
        EngineError: 48 for AggregateFunction, JSON, Dynamic, Variant and types unknown here.
    """
    name, inner = _split_type(type_name)
    width = _width(name, inner)
    if width is not None:
        return _fixed(width)
    if name in _GEO:
        return layout_of(_GEO[name])
    if name == "String":
        return Layout(_no_prefix, Source.skip_strings)
    composite = _COMPOSITES.get(name)
    if composite is None:
        reason = f"Columns of type {type_name} cannot be inserted over the native protocol here; insert over HTTP"
        raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
    return composite(inner)


def _width(name: str, inner: list[str]) -> int | None:
    """Bytes a value of a type of fixed width takes."""
    if name.startswith("Interval"):
        return 8
    if name == "FixedString":
        return int(inner[0])
    if name == "Decimal":
        return next(width for digits, width in _DECIMAL_WIDTHS if int(inner[0]) <= digits)
    return _WIDTHS.get(name)


def _no_prefix(_: Source) -> None:
    """Most types have none."""


def _fixed(width: int) -> Layout:
    return Layout(_no_prefix, lambda source, rows: source.skip(width * rows))


def _nullable(inner: list[str]) -> Layout:
    value = layout_of(inner[0])

    def walk(source: Source, rows: int) -> None:
        source.skip(rows)
        value.rows(source, rows)

    return Layout(value.prefix, walk)


def _array(inner: list[str]) -> Layout:
    return _array_of(layout_of(inner[0]))


def _array_of(element: Layout) -> Layout:
    def walk(source: Source, rows: int) -> None:
        if rows:
            source.skip(8 * (rows - 1))
            element.rows(source, source.integer(8))

    return Layout(element.prefix, walk)


def _tuple(inner: list[str]) -> Layout:
    elements = [layout_of(_NAMED.sub("", element, count=1) if _NAMED.match(element) else element) for element in inner]
    if not elements:
        return _fixed(1)

    def prefix(source: Source) -> None:
        for element in elements:
            element.prefix(source)

    def walk(source: Source, rows: int) -> None:
        for element in elements:
            element.rows(source, rows)

    return Layout(prefix, walk)


def _low_cardinality(inner: list[str]) -> Layout:
    name, nested = _split_type(inner[0])
    keys = layout_of(nested[0] if name == "Nullable" else inner[0])

    def walk(source: Source, rows: int) -> None:
        if not rows:
            return
        flags = source.integer(8)
        if flags & _HAS_ADDITIONAL_KEYS:
            keys.rows(source, source.integer(8))
        source.skip(source.integer(8) << (flags & 0xFF))

    return Layout(lambda source: source.skip(8), walk)


_COMPOSITES: dict[str, Callable[[list[str]], Layout]] = {
    "Nullable": _nullable,
    "Array": _array,
    "Tuple": _tuple,
    "Map": lambda inner: _array_of(_tuple(inner)),
    "Nested": lambda inner: _array_of(_tuple(inner)),
    "LowCardinality": _low_cardinality,
    "SimpleAggregateFunction": lambda inner: layout_of(inner[1]),
}


def _split_type(type_name: str) -> tuple[str, list[str]]:
    name, opened, rest = type_name.strip().partition("(")
    return name.strip(), list(_arguments(rest.rpartition(")")[0])) if opened else []


def _arguments(text: str) -> Iterator[str]:
    depth, start, quote, position = 0, 0, "", 0
    while position < len(text):
        character = text[position]
        if quote:
            position += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'`":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "," and depth == 0:
            yield text[start:position].strip()
            start = position + 1
        position += 1
    if text[start:].strip():
        yield text[start:].strip()
