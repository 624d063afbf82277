"""The interface of an exchange's side of a connection."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a client's message: what is sent back, and the symbols that it adds and removes."""

    replies: tuple[str, ...] = ()
    subscribed: frozenset[str] = frozenset()
    unsubscribed: frozenset[str] = frozenset()


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


def request(message: str) -> dict[str, Any]:
    """A client's JSON object; {} for anything else."""
    try:
        value = json.loads(message)
    except ValueError:
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
