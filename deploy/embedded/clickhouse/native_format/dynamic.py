"""Columns whose values have types of their own: Variant, Dynamic, JSON. The types precede the values.

Layouts: ClickHouse's SerializationVariant, SerializationDynamic and SerializationObject, versions 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, NOT_IMPLEMENTED, EngineError, refusal
from deploy.embedded.clickhouse.native_format.layouts import Layout, Walk, array, in_turn, plain
from deploy.embedded.clickhouse.native_format.source import ByteSource

MOST_VARIANTS = 255
_NO_VALUE = 255
_MOST_PATHS = 100_000
_NAME_BYTES = 1 << 16
_BASIC = 0
_DYNAMIC_V1, _DYNAMIC_V2 = 1, 2
_JSON_V1, _JSON_AS_TEXT, _JSON_V2 = 0, 1, 2
# The variant that holds, as bytes, the values of all types without a variant of their own.
_SHARED_VARIANT = "SharedVariant"
_STRINGS = plain(ByteSource.skip_strings)
_SHARED_PATHS = array(in_turn([_STRINGS, _STRINGS]))

LayoutOf = Callable[[str], Layout]


def variant(layouts: Sequence[Layout]) -> Layout:
    """A byte for each row, which names its type; then the values of each type."""

    def prefix(source: ByteSource) -> Walk:
        if (mode := source.integer(8)) != _BASIC:
            raise _unknown("Variant", mode)
        walks = [layout(source) for layout in layouts]

        def walk(source: ByteSource, rows: int) -> None:
            types = source.read(rows)
            for number, values in enumerate(walks):
                values(source, types.count(number))
            if sum(map(types.count, range(len(walks)))) + types.count(_NO_VALUE) != rows:
                raise refusal(
                    BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", "A value is of a type that its column does not have"
                )

        return walk

    return prefix


def dynamic(layout_of: LayoutOf) -> Layout:
    """A list of types, then a Variant of them in the order of their names."""

    def prefix(source: ByteSource) -> Walk:
        version = source.integer(8)
        if version not in {_DYNAMIC_V1, _DYNAMIC_V2}:
            raise _unknown("Dynamic", version)
        if version == _DYNAMIC_V1:
            source.varint()  # how many types it may have
        names = _names(source, MOST_VARIANTS - 1)
        layouts = {name: layout_of(name) for name in names} | {_SHARED_VARIANT: _STRINGS}
        return variant([layouts[name] for name in sorted(layouts)])(source)

    return prefix


def json(typed: Sequence[Layout], layout_of: LayoutOf) -> Layout:
    """A list of paths; then the declared paths, the listed paths as Dynamic, and all other paths with values as texts.

    Args:
        typed: layouts of the declared paths, in the order of their names.
        layout_of: the layout of a type.
    """

    def prefix(source: ByteSource) -> Walk:
        version = source.integer(8)
        if version == _JSON_AS_TEXT:
            return _STRINGS(source)
        if version not in {_JSON_V1, _JSON_V2}:
            raise _unknown("JSON", version)
        if version == _JSON_V1:
            source.varint()  # how many paths it may have
        paths = _names(source, _MOST_PATHS)
        return in_turn([*typed, *[dynamic(layout_of)] * len(paths), _SHARED_PATHS])(source)

    return prefix


def _names(source: ByteSource, most: int) -> list[str]:
    count = source.varint()
    if count > most:
        raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", f"A column of {count} types or paths; {most} are allowed")
    return [source.string(_NAME_BYTES) for _ in range(count)]


def _unknown(kind: str, version: int) -> EngineError:
    reason = f"{kind} in the serialisation {version} is not known here: send it as version 1 or 2, or over HTTP"
    return refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
