"""What an exchange's side of a connection has to provide."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one client message: what is sent back, and the symbols that it adds and removes."""

    replies: tuple[str, ...] = ()
    subscribed: frozenset[str] = frozenset()
    unsubscribed: frozenset[str] = frozenset()


class ExchangeProtocol(Protocol):
    """One connection as the exchange sees it."""

    #: Seconds between heartbeats; 0: the exchange sends none.
    heartbeat_s: float

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:
        """The connection is open on this path below the exchange code."""
        ...

    def answer(self, message: str) -> Reply:
        """The client sent a message."""
        ...

    def heartbeat(self) -> str:
        """The next heartbeat."""
        ...

    def frame(self, recorded: bytes) -> bytes:
        """A recorded frame as this connection gets it."""
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
    """RFC 3339 with microseconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def strings(value: object) -> Iterable[str]:
    """The strings of a JSON array; none for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
