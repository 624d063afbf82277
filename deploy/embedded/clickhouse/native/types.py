"""Parses the text of a column type into a tree of limited depth, in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.embedded.clickhouse.errors import UNKNOWN_TYPE, EngineError, refusal

_DEEPEST = 32
_PIECE = re.compile(
    r"""(?P<mark>[(),])|`(?:[^`\\]|\\.)*+`|'(?:[^'\\]|\\.)*+'|[^`'(),]++|(?P<open>.)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class TypeNode:
    """A type or a type's argument: `Decimal` with `38` and `18`. The names of elements are left out."""

    name: str
    inner: tuple[TypeNode, ...] = ()


def parse_type(text: str) -> TypeNode:
    """The tree of a type's text, `Tuple(a UInt8, b Array(String))`.

    Raises:
        EngineError: 50 for text that is no type, or that nests deeper than any table needs.
    """
    levels: list[list[TypeNode]] = [[]]
    names: list[str] = []
    piece = ""
    for found in _PIECE.finditer(f"{text},"):
        mark = found["mark"]
        if found["open"] is not None:
            raise bad_type("a quote that is not closed")
        if mark is None:
            piece += found[0]
            continue
        if mark == "(":
            if len(levels) > _DEEPEST:
                raise bad_type(f"more than {_DEEPEST} levels")
            names.append(_name(piece))
            levels.append([])
        elif piece.strip():
            levels[-1].append(TypeNode(_name(piece)))
        piece = ""
        if mark == ")":
            _close(levels, names)
    if names or len(levels[0]) != 1:
        raise bad_type("brackets that do not match, or several types")
    return levels[0][0]


def _close(levels: list[list[TypeNode]], names: list[str]) -> None:
    if not names:
        raise bad_type("a bracket that was not opened")
    inner = tuple(levels.pop())
    levels[-1].append(TypeNode(names.pop(), inner))


def _name(piece: str) -> str:
    """The type without an element's name: `UInt8` from `a UInt8`. Other arguments stay as they are."""
    stripped = piece.strip()
    return stripped.rpartition(" ")[2] if stripped[-1:].isalnum() else stripped


def bad_type(reason: str) -> EngineError:
    """The error for an impossible type: 50."""
    return refusal(UNKNOWN_TYPE, "UNKNOWN_TYPE", f"Not a column type: {reason}")
