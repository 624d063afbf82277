"""Extends a ccxt class: it keeps every digit of a frame, waits for the publisher, and can use other endpoints.

This is the one module that uses private parts of ccxt. pyproject.toml bounds its version, and
tests/producers/stream/test_library.py fails if an upgrade removes one of them.
"""

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
# Most bytes of an unpacked frame: ccxt's limit for frames that are not packed (`max_msg_size`).
_FRAME_BYTES = 10 * 2**20
_GZIP, _DEFLATE = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_ANSWERS = 8
_LONGEST_TURN_MS = 300_000
# Trades of each symbol that ccxt keeps. Nothing here reads them.
_KEPT = 10


class ConnectionListener(Protocol):
    """Is called with the events of connections."""

    def opened(self) -> None:
        """A connection is open."""

    def closed(self, cause: str, detail: str, *, was_open: bool) -> None:
        """A connection was lost or could not be opened. `cause` is the kind of loss, `detail` a text about it."""

    def rejected(self, error: object) -> list[list[str]]:
        """The exchange refused a request. Returns the names of each symbol that it refuses.

        ccxt does not always fail the calls that wait for these symbols.
        """


class Socket(Client):  # type: ignore[misc]  # ccxt is untyped
    """ccxt's connection. `venue` is set right after the connection object is made."""

    venue: Any
    # On the monotonic clock, s; 0 if it was never open.
    opened_s = 0.0
    received_s = 0.0

    def handle_message(self, message: Any) -> None:
        """Unpack a message, up to a limit, and handle it.

        ccxt itself has no limit, and stops reading at a damaged message.
        """
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
        """Decode a frame with all digits, let ccxt handle it, and pass it on with its trades."""
        self.received_s = time.monotonic()
        self.venue.receive(self, data)

    async def receive(self) -> Any:
        """Wait for room in the queue, then for the next message. While there is no room, the socket fills."""
        await self.venue.frames.room()
        return await self.connection.receive()

    async def create_connection(self, session: Any) -> Any:
        """Connect within the rate limit of connections, behind the circuit breaker."""
        async with self.venue.venue_limits.connecting(), asyncio.timeout(self.venue.open_s):
            connection = await super().create_connection(session)
        self.opened_s = self.received_s = time.monotonic()
        self.venue.listener.opened()
        return connection

    def reject(self, result: Any, message_hash: str | None = None) -> Any:
        """Fail the calls that wait for a message; without `message_hash`, all calls (ccxt's signature)."""
        answer = super().reject(result, message_hash)
        for names in self.venue.listener.rejected(result):
            self.venue.let_go(names, result)
        return answer

    def let_go(self, names: Sequence[str], error: Exception) -> None:
        """Fail those that wait for a symbol with one of these names, and forget its subscription."""
        for key in [key for key in self.subscriptions if named_in(str(key), names)]:
            del self.subscriptions[key]
        for key in [key for key in self.futures if named_in(str(key), names)]:
            super().reject(error, key)

    def on_error(self, error: Exception) -> None:
        """Handle a connection that could not be opened, or that was given up."""
        self.venue.listener.closed(type(error).__name__, str(error), was_open=self.opened_s > 0)
        super().on_error(error)

    def on_close(self, code: int) -> None:
        """Handle a connection that the exchange closed."""
        if self.error is None:
            self.venue.listener.closed("closed", f"code {code}", was_open=self.opened_s > 0)
        super().on_close(code)


class _TappedTrades(dict[str, Any]):
    """ccxt's `trades`, a cache by symbol. It calls `taken` once for each trade that is put into a cache."""

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

        # Some classes fill a cache before they store it here.
        for trade in list(cache):
            self._taken(trade)
        cache.append = tapped


class VenueMixin:
    """The first base of the classes that `make` builds. A class of ccxt.pro is the second."""

    venue_limits: VenueLimits
    open_s: float
    session: Any
    tcp_connector: Any
    aiohttp_trust_env: bool
    last_http_response: str | None
    last_response_headers: Mapping[str, str] | None
    last_request_url: str | None
    listener: ConnectionListener | None
    clients: dict[str, Socket] | None

    def prepare(self, venue_limits: VenueLimits, open_s: float, listener: ConnectionListener | None) -> None:
        """Set the attributes of this class. Called after ccxt's `__init__`."""
        self.venue_limits, self.open_s, self.listener = venue_limits, open_s, listener
        self.family = family_of(self)
        self.frames = FrameQueue()
        self._taken: list[dict[str, Any]] | None = None
        self._answers: deque[tuple[object, str]] = deque(maxlen=_ANSWERS)
        self.trades = _TappedTrades(self._take)
        self.on_json_response = self._decode_answer

    def open(self, lazy: bool = False) -> None:  # ccxt's signature
        """As in ccxt, with a session that limits the size of answers and follows no redirect."""
        fresh = self.session is None
        super().open(lazy)  # type: ignore[misc]
        if fresh:
            # ccxt's session has not connected yet. Our session takes over its connector.
            self.session.detach()
            self.session = bounded_session(connector=self.tcp_connector, trust_env=self.aiohttp_trust_env)

    def client(self, url: str) -> Any:
        """The connection to a URL, as a `Socket`. ccxt offers no other way to change the class of a connection."""
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
        """The open connections."""
        return [socket for socket in self._sockets if socket.isConnected and not socket.closed()]

    @property
    def age_s(self) -> float:
        """Age of the oldest open connection, s; 0 if none is open."""
        return max((time.monotonic() - socket.opened_s for socket in self.open_sockets), default=0.0)

    def let_go(self, names: Sequence[str], error: Exception) -> None:
        """Fail those that wait for a symbol with one of these names, and forget its subscription."""
        for socket in self._sockets:
            socket.let_go(names, error)

    def give_up_silent(self, idle_s: float) -> None:
        """Give up connections that have brought nothing for `idle_s`, or that have ended without ccxt noticing."""
        for socket in self._sockets:
            # While the publisher has no room, nothing is read. This is no silence of the exchange.
            silent = not self.frames and time.monotonic() - socket.received_s > idle_s
            if socket.isConnected and (silent or socket.closed()) and socket.error is None:
                socket.on_error(RequestTimeout("silence") if silent else NetworkError("connection lost"))

    def receive(self, socket: Socket, data: str | bytes) -> None:
        """Handle any frame. Never raises: after an error ccxt would stop reading, and not report it."""
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
        # A ccxt class can raise any error for a message that it does not expect.
        except Exception:  # noqa: BLE001
            parsed = UNRECOGNISED
        self._taken = None
        self.frames.put(frame, parsed)

    def answered(self, trades: Sequence[Mapping[str, Any]]) -> tuple[bytes, list[Trade]]:
        """The body of the REST answer that has these trades (b"" if it is not known), and the trades as `Trade`."""
        wanted = [trade["info"] for trade in trades]
        for message, body in reversed(self._answers):
            payloads = verbatim.slices(body, message, wanted)
            if payloads:
                return body.encode(), [self._trade(trade, payloads.get(id(trade["info"]))) for trade in trades]
        return b"", [self._trade(trade, None) for trade in trades]

    def forget_answer(self) -> None:
        """Forget the last REST answer. After a request without an answer, ccxt would still show the one before."""
        self.last_http_response, self.last_response_headers = None, {}

    @property
    def last_body(self) -> bytes:
        """The body of the last REST answer; b"" if there was none since `forget_answer`."""
        return (self.last_http_response or "").encode()

    @property
    def last_headers(self) -> dict[str, str]:
        """The headers of the last REST answer, names in lower case; none if there was none since `forget_answer`."""
        return {name.lower(): text for name, text in (self.last_response_headers or {}).items()}

    @property
    def last_url(self) -> str:
        """The URL of the last REST request; "" before the first."""
        return self.last_request_url or ""

    def _take(self, trade: dict[str, Any]) -> None:
        if self._taken is None:
            # Some classes send a request before they parse the frame. Then its trades come after `receive` has ended.
            late = self._trade(trade, None)
            self.frames.put(late.payload.encode(), Trades([late]))
        else:
            self._taken.append(trade)

    def _parsed(self, text: str, message: object) -> Trades:
        taken = self._taken or []
        payloads = verbatim.slices(text, message, [trade["info"] for trade in taken])
        return Trades([self._trade(trade, payloads.get(id(trade["info"]), text)) for trade in taken])

    def _trade(self, trade: Mapping[str, Any], payload: str | None) -> Trade:
        return trade_of(self.family, trade, payload)

    def _decode_answer(self, body: str) -> object:
        message = verbatim.decode(body)
        self._answers.append((message, body))
        return message


def class_of(name: str) -> Any:
    """The class from ccxt.pro, or from ccxt if ccxt.pro does not have the exchange; None for an unknown name."""
    return getattr(ccxt.pro, name) if name in ccxt.pro.exchanges else getattr(ccxt.async_support, name, None)


def make(
    name: str,
    venue_limits: VenueLimits,
    open_s: float,
    endpoint: str | None = None,
    rest_endpoint: str | None = None,
    listener: ConnectionListener | None = None,
) -> Any:
    """Make an exchange of ccxt.pro, or of ccxt if ccxt.pro does not have it. It connects nothing yet.

    Args:
        name: ccxt's name of the exchange.
        venue_limits: rate limits and circuit breakers of the exchange.
        open_s: a connection that takes longer to open has failed, s. Waiting for the rate limit does not count.
        endpoint: replaces scheme and host of every WebSocket URL.
        rest_endpoint: replaces scheme and host of every REST URL.
        listener: gets the events of connections. Without one, only REST may be used.
    """
    base = class_of(name)
    made: Any = type(base.__name__, (VenueMixin, base), {})({"enableRateLimit": True, "number": str})
    made.options["tradesLimit"] = _KEPT
    made.urls["api"] = _redirected(made.urls["api"], endpoint, rest_endpoint)
    made.aiohttp_trust_env = endpoint is None and rest_endpoint is None
    # ccxt's own timeout must not end the wait for the rate limit. `open_s` limits the connecting.
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
