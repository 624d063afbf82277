"""Bybit v5: one acknowledgement for each `op: subscribe`, and an answer to `op: ping`."""

from __future__ import annotations

from collections.abc import Set

from producers.simulator.protocols.model import Reply, dumps, request, strings

_TOPIC = "publicTrade."


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
        asked = request(message)
        operation = asked.get("op")
        reply = {
            "success": True,
            "ret_msg": "",
            "conn_id": "simulator",
            "req_id": asked.get("req_id", ""),
            "op": operation,
        }
        if operation == "ping":
            return Reply((dumps(reply | {"ret_msg": "pong"}),))
        topics = strings(asked.get("args"))
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
