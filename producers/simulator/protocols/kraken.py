"""Kraken v2: `status` on connect, one acknowledgement a symbol for `method: subscribe`, a heartbeat a second."""

from __future__ import annotations

from collections.abc import Sequence, Set

from producers.simulator.protocols.model import (
    RecordedTrade,
    Reply,
    dumps,
    joined,
    now,
    number,
    quoted,
    request,
    strings,
)

_SIDES = {"BUY": "buy", "SELL": "sell"}


class Kraken:
    """A connection to the v2 endpoint."""

    heartbeat_s = 1.0

    def __init__(self, refused: Set[str] = frozenset()) -> None:
        """`refused` may change while the connection is open."""
        self._refused = refused

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:  # noqa: ARG002  # nothing in the URL
        """Send the status of the system first."""
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        return Reply((dumps({"channel": "status", "type": "update", "data": [status]}),))

    def answer(self, message: str) -> Reply:
        """Answer subscribe, unsubscribe and ping. Anything else is an error."""
        content = request(message)
        method = content.get("method")
        if method == "ping":
            return Reply((dumps({"method": "pong", "time_in": now(), "time_out": now()}),))
        parameters = content.get("params")
        if method not in ("subscribe", "unsubscribe") or not isinstance(parameters, dict):
            return Reply((dumps({"error": "Unsupported method", "method": method, "success": False}),))
        symbols = list(strings(parameters.get("symbol")))
        replies = tuple(self._reply(method, parameters.get("channel"), symbol) for symbol in symbols)
        changed = frozenset(symbols if parameters.get("channel") == "trade" else ())
        if method == "subscribe":
            return Reply(replies, subscribed=changed - self._refused)
        return Reply(replies, unsubscribed=changed)

    def _reply(self, method: str, channel: object, symbol: str) -> str:
        times = {"time_in": now(), "time_out": now()}
        if method == "subscribe" and symbol in self._refused:
            error = f"Currency pair not supported {symbol}"
            return dumps({"error": error, "method": method, "success": False, "symbol": symbol} | times)
        result = {"channel": channel, "snapshot": True, "symbol": symbol}
        return dumps({"method": method, "result": result, "success": True} | times)

    def heartbeat(self) -> str:
        """Kraken's heartbeat."""
        return '{"channel":"heartbeat"}'

    def frame(self, recorded: bytes) -> bytes:
        """The frame verbatim."""
        return recorded

    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]:
        """One frame."""
        return [around([_element(trade) for trade in trades]).encode()]


def around(elements: Sequence[str]) -> str:
    """The frame of trades."""
    return f'{{"channel":"trade","type":"update","data":[{",".join(elements)}]}}'


def _element(trade: RecordedTrade) -> str:
    """The trade as the stream lists it. REST lists it as an array."""
    if trade.payload.startswith("{"):
        return trade.payload
    return joined(
        (
            ("symbol", quoted(trade.symbol)),
            ("side", quoted(_SIDES.get(trade.side, trade.side))),
            ("price", number(trade.price)),
            ("qty", number(trade.quantity)),
            ("ord_type", '"market"'),
            ("trade_id", number(trade.trade_id)),
            ("timestamp", quoted(trade.timestamp)),
        )
    )
