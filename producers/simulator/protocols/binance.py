"""Binance: streams in the URL (`/stream?streams=…`, `/ws/<stream>`) or by SUBSCRIBE, acknowledged by its id."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

import msgspec

from producers.simulator.protocols.model import (
    RecordedTrade,
    Reply,
    dumps,
    joined,
    number,
    parts,
    quoted,
    request,
    strings,
)

_TRADE = "@trade"
_MILLIS = re.compile(rb'"[ET]":\d{13}\b')
_MAKER = {"SELL": "true", "BUY": "false"}
_KINDS = {"insurance_fund": "INSURANCE_FUND", "adl": "ADL"}


class Binance:
    """A connection to a Binance market stream endpoint, combined or raw."""

    heartbeat_s = 0.0

    def __init__(self, refused: Set[str] = frozenset()) -> None:
        """`refused`: symbols whose stream is acknowledged, but brings no trades. It may change at any time."""
        self._refused = refused
        self._raw = self._micros = False

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:
        """Read `streams=a/b` (combined endpoint) or `/ws/a` (raw endpoint), and `timeUnit=MICROSECOND` of either."""
        self._micros = query.get("timeUnit", [""])[0].upper() == "MICROSECOND"
        self._raw = path == "/ws" or path.startswith("/ws/")
        streams = path.removeprefix("/ws").strip("/") if self._raw else "/".join(query.get("streams", []))
        return Reply(subscribed=_symbols(streams.split("/")))

    def answer(self, message: str) -> Reply:
        """Answer SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS. Anything else is an error."""
        content = request(message)
        method, number = content.get("method"), content.get("id")
        symbols = _symbols(strings(content.get("params")))
        acknowledged = (dumps({"result": None, "id": number}),)
        if method == "SUBSCRIBE":
            return Reply(acknowledged, subscribed=symbols - self._refused)
        if method == "UNSUBSCRIBE":
            return Reply(acknowledged, unsubscribed=symbols)
        error = {"error": {"code": 2, "msg": f"Invalid request: unknown method {method}"}, "id": number}
        return Reply((dumps(error),))

    def heartbeat(self) -> str:
        """Binance sends only pings of the WebSocket protocol."""
        return ""

    def frame(self, recorded: bytes) -> bytes:
        """The frame verbatim, apart from the unit of time. The raw endpoint sends it without the wrapper."""
        if self._micros:
            recorded = _MILLIS.sub(rb"\g<0>000", recorded)
        if not self._raw:
            return recorded
        try:
            wrapped = msgspec.json.decode(recorded, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            return recorded
        return bytes(wrapped["data"]) if wrapped.keys() == {"stream", "data"} else recorded

    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]:
        """One frame for each trade. The combined endpoint puts a wrapper around frames of the raw one."""
        return [self.frame(self._wrapped(trade, parts(trade.payload)).encode()) for trade in trades]

    def _wrapped(self, trade: RecordedTrade, members: dict[str, msgspec.Raw]) -> str:
        if self._raw or "stream" in members:
            return trade.payload if members.keys() & {"e", "stream"} else _event(trade)
        event = trade.payload if "e" in members else _event(trade)
        return f'{{"stream":{dumps(trade.symbol.lower() + _TRADE)},"data":{event}}}'


def _event(trade: RecordedTrade) -> str:
    """The stream's event for a trade from REST or from a dump."""
    kind = _KINDS.get(trade.kind, trade.kind.removeprefix("X=") if trade.kind.startswith("X=") else "")
    return joined(
        (
            ("e", '"trade"'),
            ("E", number(trade.timestamp)),
            ("s", quoted(trade.symbol)),
            ("t", number(trade.trade_id)),
            ("p", quoted(trade.price)),
            ("q", quoted(trade.quantity)),
            ("T", number(trade.timestamp)),
            ("m", _MAKER.get(trade.side) or quoted(trade.side)),
            ("X", quoted(kind)),
        )
    )


def _symbols(streams: object) -> frozenset[str]:
    names = streams if isinstance(streams, list) else []
    return frozenset(name.removesuffix(_TRADE).upper() for name in names if name.endswith(_TRADE))
