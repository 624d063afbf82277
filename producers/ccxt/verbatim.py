"""Decodes JSON for ccxt with every digit, and finds a trade's own characters in the text it came in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn

import msgspec
from msgspec import Raw

from producers.exchanges.parsing import elements, fields, token


def decode(text: str) -> object:
    """As ccxt expects it, but a number with a point or an exponent is its text: a float would lose digits.

    Raises:
        ValueError: it is not JSON, or nested deeper than any exchange's.
    """
    try:
        return json.loads(text, parse_float=str, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def slices(text: str, message: object, wanted: Iterable[object]) -> dict[int, str]:
    """For each of the `wanted` objects of a decoded message the characters it was decoded from, by its `id()`.

    What is no part of the message (ccxt made something new of it) is not in the answer.
    """
    ids = {id(one) for one in wanted}
    found: dict[int, str] = {}
    if id(message) in ids:
        found[id(message)] = text
    elif ids:
        try:
            _find(message, Raw(text.encode()), ids, found)
        # json takes some texts that msgspec does not: control characters, deeper nesting.
        except (msgspec.DecodeError, RecursionError):
            found.clear()
    return found


def _find(node: object, raw: Raw, ids: set[int], found: dict[int, str]) -> None:
    if id(node) in ids:
        found[id(node)] = token(raw)
    elif isinstance(node, list):
        for child, part in zip(node, elements(raw), strict=True):
            if isinstance(child, dict | list):
                _find(child, part, ids, found)
    elif isinstance(node, dict):
        parts = fields(raw)
        for name, child in node.items():
            if isinstance(child, dict | list):
                _find(child, parts[name], ids, found)
