"""The interface of an exchange's side of a connection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a client's message: what is sent back, and the symbols that it adds and removes."""

    replies: tuple[str, ...] = ()
    subscribed: frozenset[str] = frozenset()
    unsubscribed: frozenset[str] = frozenset()


class RecordedTrade(Protocol):
    """A trade as a producer published it: the exchange's own texts, and its payload (`schemas.records.RawTrade`)."""

    @property
    def symbol(self) -> str: ...
    @property
    def trade_id(self) -> str: ...
    @property
    def price(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def timestamp(self) -> str: ...
    @property
    def side(self) -> str: ...
    @property
    def sequence(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def matches(self) -> str: ...
    @property
    def payload(self) -> str: ...


class ExchangeProtocol(Protocol):
    """The exchange's side of one connection."""

    # Seconds between heartbeats; 0 if the exchange sends none.
    heartbeat_s: float

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:
        """Reply to a new connection. `path` is the part of the URL after the exchange code."""
        ...

    def answer(self, message: str) -> Reply:
        """Reply to a client's message."""
        ...

    def heartbeat(self) -> str:
        """The next heartbeat."""
        ...

    def frame(self, recorded: bytes) -> bytes:
        """A recorded frame in the form that this connection gets."""
        ...

    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]:
        """The frames with which this connection sends trades of one symbol that came together, in order.

        Payloads of the stream stay verbatim. Payloads from REST or from a dump get the stream's form.
        """
        ...


def request(message: str) -> dict[str, Any]:
    """A client's JSON object; {} for anything else."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def dumps(value: object) -> str:
    """JSON without white space, as exchanges send it."""
    return json.dumps(value, separators=(",", ":"))


def now() -> str:
    """The current time (UTC) in RFC 3339, with µs."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def strings(value: object) -> Iterable[str]:
    """The strings of a JSON array; empty for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def parts(payload: str) -> dict[str, msgspec.Raw]:
    """The members of a payload that is a JSON object; {} for anything else."""
    try:
        return msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return {}


def joined(members: Iterable[tuple[str, str]]) -> str:
    """A JSON object of pairs of a name and a JSON text. Pairs with the text "" are left out."""
    return f"{{{','.join(f'{dumps(name)}:{value}' for name, value in members if value)}}}"


def quoted(text: str) -> str:
    """A text as JSON; "" stays ""."""
    return dumps(text) if text else ""


def number(text: str) -> str:
    """The text of a number, unchanged; any other text as a JSON string."""
    return text if _NUMBER.fullmatch(text) else quoted(text)
