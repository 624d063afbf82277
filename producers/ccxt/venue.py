"""A ccxt class that passes every frame on with its digits, waits for the publisher, and takes other endpoints."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import ccxt.async_support
import ccxt.pro
from aiohttp import WSMsgType
from ccxt import BaseError, NetworkError, RequestTimeout
from ccxt.async_support.base.ws.client import Client
from ccxt.async_support.base.ws.functions import is_json_encoded_object

from producers.ccxt import verbatim
from producers.ccxt.frame_queue import FrameQueue
from producers.ccxt.unified_trades import family_of, trade_of
from producers.exchanges.model import ERROR, UNRECOGNISED, Control, Parsed, Trade, Trades
from producers.rest.bounded import TooLargeError, bounded_session, decompressed
from producers.stream.subscriptions import named_in
from producers.venue_limits import VenueLimits

OTHER = "other"
#: As large as a frame that is not packed may be (ccxt's `max_msg_size`).
_FRAME_BYTES = 10 * 2**20
_GZIP, _DEFLATE = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_ANSWERS = 8
_LONGEST_TURN_MS = 300_000
#: ccxt keeps the newest trades of each symbol; nobody looks at them here.
_KEPT = 10


class ConnectionListener(Protocol):
    """Is told of connections."""

    def opened(self) -> None:
        """One is open."""

    def closed(self, cause: str, detail: str, *, was_open: bool) -> None:
        """One was lost or could not be opened: what kind of loss, and in which words."""

    def rejected(self, error: object) -> list[list[str]]:
        """The exchange said no to something: the names of each symbol that it refuses.

        ccxt does not always tell whoever waits for these.
        """


class Socket(Client):  # type: ignore[misc]  # ccxt is untyped
    """ccxt's connection; `venue` is set as soon as it is made."""

    venue: Any
    #: On the monotonic clock; 0: it was never open.
    opened_s = 0.0
    received_s = 0.0

    def handle_message(self, message: Any) -> None:
        """A message, unpacked within a bound; ccxt unpacks whatever comes, and what is damaged ends its reading."""
        if message.type is not WSMsgType.BINARY or not (self.gunzip or self.inflate):
            super().handle_message(message)
            return
        try:
            data = decompressed(message.data, _GZIP if self.gunzip else _DEFLATE, _FRAME_BYTES)
        except (TooLargeError, zlib.error):
            self.venue.frames.put(message.data, UNRECOGNISED)
            return
        self.handle_text_or_binary_message(data)

    def handle_text_or_binary_message(self, data: str | bytes) -> None:
        """A frame: decoded with its digits, handled by ccxt, and passed on with the trades it brought."""
        self.received_s = time.monotonic()
        self.venue.receive(self, data)

    async def receive(self) -> Any:
        """The next message; not before there is room for it, so that the exchange's socket fills instead."""
        await self.venue.frames.room()
        return await self.connection.receive()

    async def create_connection(self, session: Any) -> Any:
        """Within the rate limit of connects and behind the circuit breaker."""
        async with self.venue.venue_limits.connecting(), asyncio.timeout(self.venue.open_s):
            connection = await super().create_connection(session)
        self.opened_s = self.received_s = time.monotonic()
        self.venue.listener.opened()
        return connection

    def reject(self, result: Any, message_hash: str | None = None) -> Any:
        """Fail those who wait for a message (ccxt's signature), or for any."""
        answer = super().reject(result, message_hash)
        for names in self.venue.listener.rejected(result):
            self.venue.let_go(names, result)
        return answer

    def let_go(self, names: Sequence[str], error: Exception) -> None:
        """Fail those who wait for a symbol of these names, and forget that it was subscribed to."""
        for key in [key for key in self.subscriptions if named_in(str(key), names)]:
            del self.subscriptions[key]
        for key in [key for key in self.futures if named_in(str(key), names)]:
            super().reject(error, key)

    def on_error(self, error: Exception) -> None:
        """It could not be opened, or was given up."""
        self.venue.listener.closed(type(error).__name__, str(error), was_open=self.opened_s > 0)
        super().on_error(error)

    def on_close(self, code: int) -> None:
        """The exchange closed it."""
        if self.error is None:
            self.venue.listener.closed("closed", f"code {code}", was_open=self.opened_s > 0)
        super().on_close(code)


class _TappedTrades(dict[str, Any]):
    """ccxt's `trades`, symbol → cache: each trade that is put into a cache is told of once."""

    def __init__(self, taken: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._taken = taken

    def __setitem__(self, symbol: str, cache: Any) -> None:
        known = self.get(symbol)
        super().__setitem__(symbol, cache)
        if known is cache:
            return
        append = cache.append

        def tapped(trade: dict[str, Any]) -> None:
            append(trade)
            self._taken(trade)

        # Some classes fill a cache before they store it.
        for trade in list(cache):
            self._taken(trade)
        cache.append = tapped


class VenueMixin:
    """Comes before a class of ccxt.pro in the bases of the class that `make` builds."""

    venue_limits: VenueLimits
    open_s: float
    session: Any
    tcp_connector: Any
    aiohttp_trust_env: bool
    listener: ConnectionListener | None
    clients: dict[str, Socket] | None

    def prepare(self, venue_limits: VenueLimits, open_s: float, listener: ConnectionListener | None) -> None:
        """After `__init__`, which is ccxt's."""
        self.venue_limits, self.open_s, self.listener = venue_limits, open_s, listener
        self.family = family_of(self)
        self.frames = FrameQueue()
        self._taken: list[dict[str, Any]] | None = None
        self._answers: deque[tuple[object, str]] = deque(maxlen=_ANSWERS)
        self.trades = _TappedTrades(self._take)
        self.on_json_response = self._decode_answer

    def open(self, lazy: bool = False) -> None:  # ccxt's signature
        """As ccxt's, with a session whose answers are bounded and that follows no redirect."""
        fresh = self.session is None
        super().open(lazy)  # type: ignore[misc]
        if fresh:
            # It never connected; its connector goes on in ours.
            self.session.detach()
            self.session = bounded_session(connector=self.tcp_connector, trust_env=self.aiohttp_trust_env)

    def client(self, url: str) -> Any:
        """The connection to an URL, ours instead of ccxt's: it offers no other way to exchange its class."""
        client = super().client(url)  # type: ignore[misc]
        if not isinstance(client, Socket):
            client.__class__ = Socket
            client.venue = self
            client.received_s = time.monotonic()
        return client

    @property
    def _sockets(self) -> list[Socket]:
        return [*(self.clients or {}).values()]

    @property
    def open_sockets(self) -> list[Socket]:
        """Those that are connected."""
        return [one for one in self._sockets if one.isConnected and not one.closed()]

    @property
    def age_s(self) -> float:
        """Age of the oldest connection; 0 where none is open."""
        return max((time.monotonic() - socket.opened_s for socket in self.open_sockets), default=0.0)

    def let_go(self, names: Sequence[str], error: Exception) -> None:
        """Fail those who wait for a symbol of these names, and forget that it was subscribed to."""
        for socket in self._sockets:
            socket.let_go(names, error)

    def give_up_silent(self, idle_s: float) -> None:
        """Give up connections that bring nothing for so long, or have ended unnoticed."""
        for socket in self._sockets:
            # While the publisher has no room nothing is read: that is no silence.
            silent = not self.frames and time.monotonic() - socket.received_s > idle_s
            if socket.isConnected and (silent or socket.closed()) and socket.error is None:
                socket.on_error(RequestTimeout("silence") if silent else NetworkError("connection lost"))

    def receive(self, socket: Socket, data: str | bytes) -> None:
        """One frame, whatever it is. Never raises: ccxt would read no further, and say nothing."""
        frame = data.encode() if isinstance(data, str) else data
        self._taken = []
        parsed: Parsed
        try:
            text = data.decode() if isinstance(data, bytes) and socket.decompressBinary else data
            decoded = isinstance(text, str) and is_json_encoded_object(text)
            message = verbatim.decode(text) if decoded and isinstance(text, str) else text
            socket.on_message_callback(socket, message)
            parsed = self._parsed(str(text), message) if self._taken else Control(OTHER)
        except BaseError:
            parsed = Control(ERROR)
        # What a class of ccxt makes of an unforeseen message can be any error.
        except Exception:  # noqa: BLE001
            parsed = UNRECOGNISED
        self._taken = None
        self.frames.put(frame, parsed)

    def answered(self, trades: Sequence[Mapping[str, Any]]) -> tuple[bytes, list[Trade]]:
        """The body of the REST answer that the trades are in, b"" if it is not known, and the trades as ours."""
        wanted = [trade["info"] for trade in trades]
        for message, body in reversed(self._answers):
            found = verbatim.slices(body, message, wanted)
            if found:
                return body.encode(), [self._trade(one, found.get(id(one["info"]))) for one in trades]
        return b"", [self._trade(one, None) for one in trades]

    def _take(self, trade: dict[str, Any]) -> None:
        if self._taken is None:
            # A class that looks something up before it parses has left the frame behind.
            own = self._trade(trade, None)
            self.frames.put(own.payload.encode(), Trades([own]))
        else:
            self._taken.append(trade)

    def _parsed(self, text: str, message: object) -> Trades:
        taken = self._taken or []
        found = verbatim.slices(text, message, [trade["info"] for trade in taken])
        return Trades([self._trade(trade, found.get(id(trade["info"]), text)) for trade in taken])

    def _trade(self, trade: Mapping[str, Any], payload: str | None) -> Trade:
        return trade_of(self.family, trade, payload)

    def _decode_answer(self, body: str) -> object:
        message = verbatim.decode(body)
        self._answers.append((message, body))
        return message


def class_of(name: str) -> Any:
    """Of ccxt.pro, or of ccxt where that has no stream of the exchange; None for a name that ccxt does not know."""
    return getattr(ccxt.pro, name) if name in ccxt.pro.exchanges else getattr(ccxt.async_support, name, None)


def make(
    name: str,
    venue_limits: VenueLimits,
    open_s: float,
    endpoint: str | None = None,
    rest_endpoint: str | None = None,
    listener: ConnectionListener | None = None,
) -> Any:
    """An exchange of ccxt.pro, or of ccxt where it has no stream there; nothing is connected yet.

    A connection that is not open after `open_s` (without the wait for its turn) has failed. `endpoint` and
    `rest_endpoint` take the place of scheme and host in every URL of their kind. `listener` hears of connections;
    without one only REST may be asked.
    """
    base = class_of(name)
    made: Any = type(base.__name__, (VenueMixin, base), {})({"enableRateLimit": True, "number": str})
    made.options["tradesLimit"] = _KEPT
    made.urls["api"] = _redirected(made.urls["api"], endpoint, rest_endpoint)
    made.aiohttp_trust_env = endpoint is None and rest_endpoint is None
    # Ours ends earlier; waiting for the rate limit is not connecting.
    made.streaming = {**made.streaming, "connectionTimeout": _LONGEST_TURN_MS}
    made.prepare(venue_limits, open_s, listener)
    return made


def _redirected(node: Any, endpoint: str | None, rest_endpoint: str | None) -> Any:
    if isinstance(node, dict):
        return {name: _redirected(child, endpoint, rest_endpoint) for name, child in node.items()}
    if not isinstance(node, str):
        return node
    to = endpoint if node.startswith("ws") else rest_endpoint
    url = urlsplit(node)
    return node if to is None else to.rstrip("/") + url.path + (f"?{url.query}" if url.query else "")
