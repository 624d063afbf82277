"""Decodes JSON for ccxt without losing digits, and finds a trade's characters in the original text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn

import msgspec
from msgspec import Raw

from producers.exchanges.parsing import elements, fields, token


def decode(text: str) -> object:
    """Decode JSON for ccxt. A number with a point or an exponent becomes text: a float would lose digits.

    Raises:
        ValueError: the text is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_float=str, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("the JSON nests too deep") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def slices(text: str, message: object, wanted: Iterable[object]) -> dict[int, str]:
    """The characters of each `wanted` object in the text of a decoded message, by the object's `id()`.

    An object that is not part of the message, because ccxt made a new one, is left out.
    """
    ids = {id(part) for part in wanted}
    found: dict[int, str] = {}
    if id(message) in ids:
        found[id(message)] = text
    elif ids:
        try:
            _find(message, Raw(text.encode()), ids, found)
        # json accepts some texts that msgspec refuses: control characters, deeper nesting.
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
