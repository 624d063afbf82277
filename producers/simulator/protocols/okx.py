"""OKX v5: one acknowledgement a channel for `op: subscribe`, and `pong` as the answer to the text `ping`."""

from __future__ import annotations

from collections.abc import Sequence, Set

from producers.simulator.protocols.model import RecordedTrade, Reply, dumps, joined, quoted, request

_TRADE_CHANNELS = frozenset(("trades", "trades-all"))
_SIDES = {"BUY": "buy", "SELL": "sell"}
_SOURCES = {"": "0", "rpi": "1"}


class Okx:
    """A connection to the public endpoint."""

    heartbeat_s = 0.0

    def __init__(self, refused: Set[str] = frozenset()) -> None:
        """`refused` may change while the connection is open."""
        self._refused = refused
        # The channel of trades of each subscribed instrument.
        self._channels: dict[str, str] = {}

    def open(self, path: str, query: dict[str, list[str]]) -> Reply:  # noqa: ARG002  # nothing in the URL
        """Nothing is sent on connect."""
        return Reply()

    def answer(self, message: str) -> Reply:
        """Answer subscribe, unsubscribe and the text ping. Anything else is an error."""
        if message == "ping":
            return Reply(("pong",))
        content = request(message)
        operation, arguments = content.get("op"), content.get("args")
        if operation not in ("subscribe", "unsubscribe") or not isinstance(arguments, list):
            error = {"event": "error", "code": "60012", "msg": f"Invalid request: {message}", "connId": "simulator"}
            return Reply((dumps(error),))
        channels = [
            argument
            for argument in arguments
            if isinstance(argument, dict) and all(isinstance(argument.get(name), str) for name in ("channel", "instId"))
        ]
        replies = tuple(self._reply(operation, channel, content.get("id", "")) for channel in channels)
        symbols = frozenset(
            str(channel.get("instId")) for channel in channels if channel.get("channel") in _TRADE_CHANNELS
        )
        if operation == "subscribe":
            self._channels |= {symbol: channel for symbol, channel in _named(channels) if symbol in symbols}
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

    def frames(self, trades: Sequence[RecordedTrade]) -> list[bytes]:
        """One frame for each trade."""
        channels = [self._channels.get(trade.symbol, "trades-all") for trade in trades]
        pairs = zip(trades, channels, strict=True)
        return [around(trade.symbol, [_element(trade)], channel).encode() for trade, channel in pairs]


def around(symbol: str, elements: Sequence[str], channel: str = "trades") -> str:
    """The frame of an instrument's trades."""
    argument = dumps({"channel": channel, "instId": symbol})
    return f'{{"arg":{argument},"data":[{",".join(elements)}]}}'


def _named(channels: Sequence[dict[str, object]]) -> list[tuple[str, str]]:
    """Instrument and channel of each argument for trades."""
    return [(str(one.get("instId")), str(one["channel"])) for one in channels if one.get("channel") in _TRADE_CHANNELS]


def _element(trade: RecordedTrade) -> str:
    """The trade as the stream lists it. REST lists it in the same form, a dump does not."""
    if trade.payload.startswith("{"):
        return trade.payload
    source = _SOURCES.get(trade.kind, trade.kind.removeprefix("source="))
    return joined(
        (
            ("instId", quoted(trade.symbol)),
            ("tradeId", quoted(trade.trade_id)),
            ("px", quoted(trade.price)),
            ("sz", quoted(trade.quantity)),
            ("side", quoted(_SIDES.get(trade.side, trade.side))),
            ("ts", quoted(trade.timestamp)),
            ("count", quoted(trade.matches or "1")),
            ("source", quoted(source)),
        )
    )
