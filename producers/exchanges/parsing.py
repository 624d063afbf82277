"""What the parsers of all exchanges share; JSON values are the characters they were sent in, never printed again."""

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

#: Stands for a key that the message does not have.
ABSENT = Raw(b"")
_string = Decoder(str)
_elements = Decoder(list[Raw])
_fields = Decoder(dict[str, Raw])


def token(raw: Raw) -> str:
    """The raw JSON token; "" for a key that is not there.

    Raises:
        UnicodeDecodeError: the token is not UTF-8.
    """
    return str(raw, "utf-8")


def text(raw: Raw) -> str:
    """The value of a JSON string, the token of any other value, "" for null and for a key that is not there.

    Raises:
        UnicodeDecodeError: the token is not UTF-8.
        msgspec.DecodeError: a string with an escape that stands for no character.
    """
    value = token(raw)
    if value[:1] == '"':
        return value[1:-1] if "\\" not in value else _string.decode(raw)
    return "" if value == "null" else value


def flagged(*flags: tuple[str, Raw, str]) -> str:
    """The kind of a trade by its flags (name, value, the kind where it is `true`), the first that is set.

    "" where none is. A value that is no flag gives the name and the value: no kind, so that somebody looks at it.
    """
    for name, value, kind in flags:
        said = token(value)
        if said == "true":
            return str(kind)
        if said not in {"", "false", "null"}:
            return f"{name}={said}"
    return ""


def elements(raw: Raw) -> list[Raw]:
    """The elements of a JSON array, each as its verbatim slice of the frame.

    Raises:
        msgspec.DecodeError: it is no array.
    """
    return _elements.decode(raw)


def fields(message: Raw | bytes) -> dict[str, Raw]:
    """The members of a JSON object (the last of a repeated key), each as its verbatim slice.

    Raises:
        msgspec.DecodeError: it is no object.
    """
    return _fields.decode(message)


def members(raw: Raw) -> dict[str, Raw]:
    """As `fields`; {} for what is no object, or not there.

    Raises:
        msgspec.DecodeError: it is broken JSON.
    """
    return fields(raw) if token(raw).lstrip()[:1] == "{" else {}


def counter(raw: Raw) -> int | None:
    """A whole number from 0 on, also one that is sent as a string; None for anything else.

    Raises:
        as `text`.
    """
    value = text(raw)
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else None


def refusal(words: str, symbols: tuple[str, ...] | None = None, number: int | None = None) -> Control:
    """An exchange's no to a subscribe message; that it has the subscription already is a yes."""
    kind = ACK if "already subscribed" in words.lower() else ERROR
    return Control(kind, SubscriptionAnswer(symbols, number, words))


def unreadable_element(payload: str) -> Trade:
    """The record of an element of a trade message that is no JSON object."""
    return Trade("", "", "", "", "", "", "", payload)


def total(parse: Callable[[bytes], Parsed]) -> Callable[[bytes], Parsed]:
    """Make a parser total: bytes that are not UTF-8 or not JSON, and JSON of another shape, are unrecognised."""

    @wraps(parse)
    def wrapper(frame: bytes) -> Parsed:
        try:
            return parse(frame)
        # msgspec bounds its depth by raising RecursionError, which is a RuntimeError of its own kind here.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return UNRECOGNISED

    return wrapper


def trades_of(records: list[Trade]) -> Parsed:
    """A frame of trades; one that lists none is a control message."""
    return Trades(records) if records else Control(NO_TRADES)


def read_elements(raw: Raw, decoder: Decoder[Element], trade: Callable[[Element, str], Trade]) -> list[Trade]:
    """The trades of a JSON array; `trade` takes a decoded element and its own text.

    Raises:
        msgspec.DecodeError: it is no array, or broken JSON.
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
    """The control message of a name, by the kinds of those that are known."""
    kind = kinds.get(name)
    return UNRECOGNISED if kind is None else Control(kind)
