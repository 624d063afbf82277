"""What the parsers of all exchanges share."""

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
from producers.exchanges.tokens import elements, token

Element = TypeVar("Element")


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
