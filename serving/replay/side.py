"""The exchange's side of a WebSocket connection, as `/ws-replay` needs it: replies, heartbeats, frames of trades."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Protocol

import msgspec


class RecordedTrade(msgspec.Struct, gc=False):
    """A raw message (schemas.RawTrade): the exchange's texts and its payload."""

    symbol: str
    trade_id: str
    price: str
    quantity: str
    timestamp: str
    side: str
    sequence: str
    received_at: int
    payload: str
    kind: str = ""
    matches: str = ""
    payload_encoding: str = ""

    @property
    def is_bare(self) -> bool:
        """Whether the payload is a whole frame in which no trade was recognised."""
        return not (self.symbol or self.trade_id or self.price or self.quantity or self.timestamp)


class SideReply(Protocol):
    """The replies of an exchange to a message, and the symbols that the client has subscribed to or unsubscribed."""

    @property
    def replies(self) -> tuple[str, ...]: ...
    @property
    def subscribed(self) -> frozenset[str]: ...
    @property
    def unsubscribed(self) -> frozenset[str]: ...


class ExchangeSide(Protocol):
    """The exchange's side of one connection. The simulator implements it (producers/simulator/protocols)."""

    @property
    def heartbeat_s(self) -> float: ...
    def open(self, path: str, query: dict[str, list[str]]) -> SideReply: ...
    def answer(self, message: str) -> SideReply: ...
    def heartbeat(self) -> str: ...
    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]: ...


# By exchange code: makes a side from the set of symbols that the exchange refuses.
Sides = Mapping[str, Callable[[Set[str]], ExchangeSide]]
