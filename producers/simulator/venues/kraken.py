"""Kraken v2: `status` on connect, `method: subscribe` acknowledged symbol by symbol, a heartbeat a second."""

from __future__ import annotations

from producers.simulator.venues.model import Answer, dumps, now, request, strings


class Kraken:
    """One connection to the v2 endpoint."""

    heartbeat_s = 1.0

    def open(self, path: str, query: dict[str, list[str]]) -> Answer:  # noqa: ARG002  # nothing in the URL
        """The status of the system comes first."""
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        return Answer((dumps({"channel": "status", "type": "update", "data": [status]}),))

    def answer(self, message: str) -> Answer:
        """subscribe, unsubscribe and ping; anything else is an error."""
        asked = request(message)
        method = asked.get("method")
        if method == "ping":
            return Answer((dumps({"method": "pong", "time_in": now(), "time_out": now()}),))
        parameters = asked.get("params")
        if method not in {"subscribe", "unsubscribe"} or not isinstance(parameters, dict):
            return Answer((dumps({"error": "Unsupported method", "method": method, "success": False}),))
        symbols = list(strings(parameters.get("symbol")))
        replies = tuple(
            dumps(
                {
                    "method": method,
                    "result": {"channel": parameters.get("channel"), "snapshot": True, "symbol": symbol},
                    "success": True,
                    "time_in": now(),
                    "time_out": now(),
                }
            )
            for symbol in symbols
        )
        changed = frozenset(symbols if parameters.get("channel") == "trade" else ())
        if method == "subscribe":
            return Answer(replies, subscribed=changed)
        return Answer(replies, unsubscribed=changed)

    def heartbeat(self) -> str:
        """As Kraken sends it."""
        return '{"channel":"heartbeat"}'

    def frame(self, recorded: bytes) -> bytes:
        """Verbatim."""
        return recorded
