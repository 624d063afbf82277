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
    """A type, or another argument of a type: `Decimal` with the arguments `38` and `18`.

    `label` is the name of an element, `a` in `Tuple(a UInt8)`.
    """

    name: str
    inner: tuple[TypeNode, ...] = ()
    label: str = ""


def parse_type(text: str) -> TypeNode:
    """The tree of a type's text, `Tuple(a UInt8, b Array(String))`.

    Raises:
        EngineError: 50 for text that is no type, or that nests deeper than any table needs.
    """
    levels: list[list[TypeNode]] = [[]]
    names: list[tuple[str, str]] = []
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
            name, label = _name(piece)
            levels[-1].append(TypeNode(name, label=label))
        piece = ""
        if mark == ")":
            _close(levels, names)
    if names or len(levels[0]) != 1:
        raise bad_type("brackets that do not match, or several types")
    return levels[0][0]


def _close(levels: list[list[TypeNode]], names: list[tuple[str, str]]) -> None:
    if not names:
        raise bad_type("a bracket that was not opened")
    inner = tuple(levels.pop())
    name, label = names.pop()
    levels[-1].append(TypeNode(name, inner, label))


def _name(piece: str) -> tuple[str, str]:
    """Split `a UInt8` into the type `UInt8` and the label `a`, which may be quoted. Other arguments have no label."""
    stripped = piece.strip()
    if not stripped[-1:].isalnum():
        return stripped, ""
    label, _, name = stripped.rpartition(" ")
    return name, label.strip().strip("`")


def bad_type(reason: str) -> EngineError:
    """The error for an impossible type: 50."""
    return refusal(UNKNOWN_TYPE, "UNKNOWN_TYPE", f"Not a column type: {reason}")
