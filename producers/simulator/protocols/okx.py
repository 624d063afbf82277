"""OKX v5: one acknowledgement a channel for `op: subscribe`, and `pong` as the answer to the text `ping`."""

from __future__ import annotations

from collections.abc import Set

from producers.simulator.protocols.model import Reply, dumps, request

_TRADE_CHANNELS = frozenset(("trades", "trades-all"))


class Okx:
    """A connection to the public endpoint."""

    heartbeat_s = 0.0

    def __init__(self, refused: Set[str] = frozenset()) -> None:
        """`refused` may change while the connection is open."""
        self._refused = refused

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:  # noqa: ARG002  # nothing in the URL
        """Nothing is sent on connect."""
        return Reply()

    def answer(self, message: str) -> Reply:
        """Answer subscribe, unsubscribe and the text ping. Anything else is an error."""
        if message == "ping":
            return Reply(("pong",))
        asked = request(message)
        operation, arguments = asked.get("op"), asked.get("args")
        if operation not in {"subscribe", "unsubscribe"} or not isinstance(arguments, list):
            error = {"event": "error", "code": "60012", "msg": f"Invalid request: {message}", "connId": "simulator"}
            return Reply((dumps(error),))
        channels = [argument for argument in arguments if isinstance(argument, dict)]
        replies = tuple(self._reply(operation, channel, asked.get("id", "")) for channel in channels)
        symbols = frozenset(
            str(channel.get("instId")) for channel in channels if channel.get("channel") in _TRADE_CHANNELS
        )
        if operation == "subscribe":
            return Reply(replies, subscribed=symbols - self._refused)
        return Reply(replies, unsubscribed=symbols)

    def _reply(self, operation: str, channel: dict[str, object], number: object) -> str:
        instrument = channel.get("instId")
        if operation == "subscribe" and instrument in self._refused:
            message = f"Wrong URL or channel:{channel.get('channel')},instId:{instrument} doesn't exist."
            error = {"id": number, "event": "error", "code": "60018", "msg": message, "connId": "simulator"}
            return dumps(error)
        return dumps({"id": number, "event": operation, "arg": channel, "connId": "simulator"})

    def heartbeat(self) -> str:
        """OKX answers pings, but sends none."""
        return ""

    def frame(self, recorded: bytes) -> bytes:
        """The frame verbatim."""
        return recorded
