"""Coinbase Advanced: the answer to `type: subscribe` lists all subscriptions. Heartbeats are a channel."""

from __future__ import annotations

from collections.abc import Sequence, Set

from producers.simulator.protocols.model import (
    RecordedTrade,
    Reply,
    dumps,
    joined,
    now,
    parts,
    quoted,
    request,
    strings,
)

_MAKERS = {"BUY": "SELL", "SELL": "BUY"}


class Coinbase:
    """A connection to the market data endpoint."""

    heartbeat_s = 1.0

    def __init__(self, refused: Set[str] = frozenset()) -> None:
        """`refused`: products that the exchange does not have. A message with one of them is refused as a whole."""
        self._refused = refused
        self._channels: dict[str, set[str]] = {}
        self._frames = 0
        self._beats = 0

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:  # noqa: ARG002  # nothing in the URL
        """Nothing is sent on connect."""
        return Reply()

    def answer(self, message: str) -> Reply:
        """Answer subscribe and unsubscribe. Anything else is an error."""
        content = request(message)
        kind, channel = content.get("type"), content.get("channel")
        if kind not in ("subscribe", "unsubscribe") or not isinstance(channel, str):
            return Reply((dumps({"type": "error", "message": "invalid request"}),))
        products = frozenset(strings(content.get("product_ids")))
        unknown = sorted(products & self._refused)
        if unknown:
            reason = f"{unknown[0]} is not a valid product"
            return Reply((dumps({"type": "error", "message": "Failed to subscribe", "reason": reason}),))
        subscribed = self._channels.setdefault(channel, set())
        changed = products if channel == "market_trades" else frozenset[str]()
        if kind == "subscribe":
            subscribed |= products
            return Reply((self._subscriptions(),), subscribed=changed)
        subscribed -= products
        return Reply((self._subscriptions(),), unsubscribed=changed)

    def heartbeat(self) -> str:
        """A heartbeat, if the client has subscribed to heartbeats."""
        if "heartbeats" not in self._channels:
            return ""
        self._beats += 1
        return self._message("heartbeats", [{"current_time": now(), "heartbeat_counter": self._beats}])

    def frame(self, recorded: bytes) -> bytes:
        """The frame verbatim."""
        return recorded

    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]:
        """One frame."""
        self._frames += 1
        return [around([_element(trade) for trade in trades], self._frames, now()).encode()]

    def _subscriptions(self) -> str:
        names = {channel: sorted(products) for channel, products in self._channels.items()}
        return self._message("subscriptions", [{"subscriptions": names}])

    def _message(self, channel: str, events: list[dict[str, object]]) -> str:
        self._frames += 1
        message = {"channel": channel, "timestamp": now(), "sequence_num": self._frames, "events": events}
        return dumps(message)


def around(elements: Sequence[str], sequence: int = 0, timestamp: str = "") -> str:
    """The frame of trades."""
    head = dumps({"channel": "market_trades", "client_id": "", "timestamp": timestamp, "sequence_num": sequence})
    return f'{head[:-1]},"events":[{{"type":"update","trades":[{",".join(elements)}]}}]}}'


def _element(trade: RecordedTrade) -> str:
    """The trade as the stream lists it. REST does not name the product, and has the side in lower case."""
    if "product_id" in parts(trade.payload):
        return trade.payload
    return joined(
        (
            ("trade_id", quoted(trade.trade_id)),
            ("product_id", quoted(trade.symbol)),
            ("price", quoted(trade.price)),
            ("size", quoted(trade.quantity)),
            ("time", quoted(trade.timestamp)),
            ("side", quoted(_MAKERS.get(trade.side, trade.side))),
        )
    )
