"""Functions that all parsers share. JSON values keep the characters in which they were sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    ERROR,
    NO_TRADES,
    UNRECOGNISED,
    Control,
    Parsed,
    SubscriptionAnswer,
    Trade,
    Trades,
)

Element = TypeVar("Element")

# Stands for a key that the message does not have.
ABSENT = Raw(b"")
_string = Decoder(str)
_elements = Decoder(list[Raw])
_fields = Decoder(dict[str, Raw])


def token(raw: Raw) -> str:
    """The raw JSON token; "" if the key is missing.

    Raises:
        UnicodeDecodeError: the token is not UTF-8.
    """
    return str(raw, "utf-8")


def text(raw: Raw) -> str:
    """The value of a JSON string, or the token of any other value; "" for null or a missing key.

    Raises:
        UnicodeDecodeError: the token is not UTF-8.
        msgspec.DecodeError: a string with an escape that stands for no character.
    """
    value = token(raw)
    if value[:1] == '"':
        return value[1:-1] if "\\" not in value else _string.decode(raw)
    return "" if value == "null" else value


def flagged(*flags: tuple[str, Raw, str]) -> str:
    """The kind of a trade, from its flags: each has a name, a value, and the kind that `true` stands for.

    The first flag that is set counts; "" if none is. A value that is no flag gives `name=value`, which Silver rejects.
    """
    for name, value, kind in flags:
        said = token(value)
        if said == "true":
            return str(kind)
        if said not in {"", "false", "null"}:
            return f"{name}={said}"
    return ""


def elements(raw: Raw) -> list[Raw]:
    """The elements of a JSON array, each as a verbatim slice of the frame.

    Raises:
        msgspec.DecodeError: the value is no array.
    """
    return _elements.decode(raw)


def fields(message: Raw | bytes) -> dict[str, Raw]:
    """The members of a JSON object, each as a verbatim slice. Of a repeated key the last one counts.

    Raises:
        msgspec.DecodeError: the value is no object.
    """
    return _fields.decode(message)


def members(raw: Raw) -> dict[str, Raw]:
    """As `fields`, but {} for a value that is no object or is missing.

    Raises:
        msgspec.DecodeError: the JSON is broken.
    """
    return fields(raw) if token(raw).lstrip()[:1] == "{" else {}


def counter(raw: Raw) -> int | None:
    """A non-negative whole number, sent as a number or a string; None for anything else.

    Raises:
        UnicodeDecodeError, msgspec.DecodeError: as in `text`.
    """
    value = text(raw)
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else None


def refusal(words: str, symbols: tuple[str, ...] | None = None, number: int | None = None) -> Control:
    """The refusal of a subscribe message. "Already subscribed" counts as an acknowledgement."""
    kind = ACK if "already subscribed" in words.lower() else ERROR
    return Control(kind, SubscriptionAnswer(symbols, number, words))


def unreadable_element(payload: str) -> Trade:
    """The record for an element that is no JSON object."""
    return Trade("", "", "", "", "", "", "", payload)


def total(parse: Callable[[bytes], Parsed]) -> Callable[[bytes], Parsed]:
    """Make a parser total: what it cannot read (no UTF-8, no JSON, JSON of another shape) is unrecognised."""

    @wraps(parse)
    def wrapper(frame: bytes) -> Parsed:
        try:
            return parse(frame)
        # msgspec raises RecursionError for JSON that nests too deep.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return UNRECOGNISED

    return wrapper


def trades_of(records: list[Trade]) -> Parsed:
    """A frame of trades. A frame without any is a control message."""
    return Trades(records) if records else Control(NO_TRADES)


def read_elements(raw: Raw, decoder: Decoder[Element], trade: Callable[[Element, str], Trade]) -> list[Trade]:
    """The trades of a JSON array. `trade` makes one from a decoded element and its text.

    Raises:
        msgspec.DecodeError: the value is no array, or the JSON is broken.
    """
    return [_read(element, decoder, trade) for element in elements(raw)]


def _read(raw: Raw, decoder: Decoder[Element], trade: Callable[[Element, str], Trade]) -> Trade:
    payload = token(raw)
    try:
        element = decoder.decode(raw)
    except msgspec.ValidationError:
        return unreadable_element(payload)
    return trade(element, payload)


def control_of(kinds: Mapping[str, str], name: str) -> Parsed:
    """The control message with this name; unrecognised if `kinds` does not have the name."""
    kind = kinds.get(name)
    return UNRECOGNISED if kind is None else Control(kind)
