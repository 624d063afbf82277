"""Bybit v5: one acknowledgement for each `op: subscribe`, and an answer to `op: ping`."""

from __future__ import annotations

from collections.abc import Sequence, Set

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

_TOPIC = "publicTrade."
_SIDES = {"BUY": "Buy", "SELL": "Sell"}
# The `sequence` of a raw message is Bybit's number times this, plus the trade's place within its frame.
_PLACES = 10_000


class Bybit:
    """A connection to a public endpoint."""

    heartbeat_s = 0.0

    def __init__(self, refused: Set[str] = frozenset()) -> None:
        """`refused` may change while the connection is open."""
        self._refused = refused

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:  # noqa: ARG002  # nothing in the URL
        """Nothing is sent on connect."""
        return Reply()

    def answer(self, message: str) -> Reply:
        """Answer subscribe, unsubscribe and ping. Anything else is an error."""
        content = request(message)
        operation = content.get("op")
        reply = {
            "success": True,
            "ret_msg": "",
            "conn_id": "simulator",
            "req_id": content.get("req_id", ""),
            "op": operation,
        }
        if operation == "ping":
            return Reply((dumps(reply | {"ret_msg": "pong"}),))
        topics = strings(content.get("args"))
        symbols = frozenset(topic.removeprefix(_TOPIC) for topic in topics if topic.startswith(_TOPIC))
        unknown = sorted(symbols & self._refused)
        if operation == "subscribe" and unknown:
            words = f"error:handler not found,topic:{_TOPIC}{unknown[0]}"
            return Reply((dumps(reply | {"success": False, "ret_msg": words}),))
        if operation == "subscribe":
            return Reply((dumps(reply),), subscribed=symbols)
        if operation == "unsubscribe":
            return Reply((dumps(reply),), unsubscribed=symbols)
        return Reply((dumps(reply | {"success": False, "ret_msg": "unknown op"}),))

    def heartbeat(self) -> str:
        """Bybit answers pings, but sends none."""
        return ""

    def frame(self, recorded: bytes) -> bytes:
        """The frame verbatim."""
        return recorded

    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]:
        """One frame, because a trade's place in its frame is a part of its order."""
        return [around(trades[0].symbol, [_element(trade) for trade in trades], trades[-1].timestamp).encode()]


def around(symbol: str, elements: Sequence[str], timestamp: str = "0") -> str:
    """The frame of a symbol's trades; `timestamp` in ms."""
    return joined(
        (
            ("topic", dumps(_TOPIC + symbol)),
            ("type", '"snapshot"'),
            ("ts", number(timestamp)),
            ("data", f"[{','.join(elements)}]"),
        )
    )


def _element(trade: RecordedTrade) -> str:
    """The trade as the stream lists it. REST has other names of the members."""
    if trade.payload.startswith("{") and "execId" not in parts(trade.payload):
        return trade.payload
    seq = trade.sequence
    return joined(
        (
            ("T", number(trade.timestamp)),
            ("s", quoted(trade.symbol)),
            ("S", quoted(_SIDES.get(trade.side, trade.side))),
            ("v", quoted(trade.quantity)),
            ("p", quoted(trade.price)),
            ("i", quoted(trade.trade_id)),
            ("BT", "true" if trade.kind == "block" else ""),
            ("RPI", "true" if trade.kind == "rpi" else ""),
            ("seq", str(int(seq) // _PLACES) if seq.isascii() and seq.isdigit() else quoted(seq)),
        )
    )
