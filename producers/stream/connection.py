"""Opens one WebSocket connection to an exchange, subscribes, keeps it alive and yields its frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from ipaddress import ip_address
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from producers.exchanges.model import Exchange
from producers.options import ProducerOptions

Opening = Callable[[], AbstractAsyncContextManager[None]]
_WATCH_S = 0.25
_TALK_S = 0.1
# Bounds of the frames that are read ahead of the parser. When they are reached, the socket fills, and the exchange has
# to wait. One read of the socket queues all its frames, even hundreds of small ones. So low bounds cost nothing, and
# limit the bytes of large frames.
_READ_AHEAD = (4, 1)


class ConnectionLostError(ConnectionError):
    """The connection ended, or was closed because it was silent. `cause`: one word, for metrics."""

    def __init__(self, cause: str, detail: str) -> None:
        """`detail`: what happened, for the log."""
        super().__init__(detail)
        self.cause = cause


class _Connect(connect):
    """A handshake that fails on a redirect. No other host is contacted."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Return the redirect as an error."""
        return exc


class ExchangeConnection:
    """A connection that is not open yet."""

    def __init__(
        self,
        exchange: Exchange,
        url: str,
        due: Callable[[], Iterable[str]],
        options: ProducerOptions,
        opening: Opening = nullcontext,
    ) -> None:
        """`due`: returns the subscribe messages to send now. `opening`: a context for the handshake."""
        self._opening = opening
        self._exchange = exchange
        self._url = url
        self._due = due
        self._options = options
        self._idle_s = exchange.idle_timeout_s if options.idle_s is None else options.idle_s
        # Since when the next frame is awaited (monotonic clock, s). None while the consumer handles a frame, which is
        # no silence of the exchange.
        self._waiting_since: float | None = None
        self._silent = False

    @asynccontextmanager
    async def open(self, stop: asyncio.Event) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Open the connection and give its frames. `stop` closes it; frames that have arrived are still returned.

        Raises:
            ConnectionLostError: (from the iterator) the other side closed it, or it was silent for too long.
            OSError, websockets.exceptions.WebSocketException: it could not be opened.
        """
        async with self._opening():
            socket = await _Connect(
                self._url,
                compression=None,
                max_size=self._options.max_frame_bytes,
                max_queue=_READ_AHEAD,
                open_timeout=self._options.open_s,
                close_timeout=self._options.close_s,
                proxy=None if _is_local(self._url) else True,
            )
        helpers = [
            asyncio.ensure_future(self._talk(socket)),
            asyncio.ensure_future(self._watch(socket)),
            asyncio.ensure_future(_close_on(stop, socket)),
        ]
        try:
            async with aclosing(self._frames(socket, stop)) as frames:
                yield frames
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await socket.close()

    async def _frames(self, socket: ClientConnection, stop: asyncio.Event) -> AsyncGenerator[bytes]:
        try:
            while True:
                self._waiting_since = time.monotonic()
                frame = await socket.recv(decode=False)
                self._waiting_since = None
                yield frame
        except ConnectionClosed as error:
            if stop.is_set():
                return
            if self._silent:
                raise ConnectionLostError("silence", f"no message for {self._idle_s:g} s") from error
            raise ConnectionLostError("closed", str(error)) from error

    async def _talk(self, socket: ClientConnection) -> None:
        exchange = self._exchange
        pinged_s = time.monotonic()
        messages: Iterable[str] = exchange.greeting
        while True:
            for message in messages:
                await socket.send(message)
                await asyncio.sleep(exchange.send_interval_s)
            if exchange.ping and time.monotonic() - pinged_s >= exchange.ping_interval_s:
                pinged_s = time.monotonic()
                await socket.send(exchange.ping)
            messages = self._due()
            if not messages:
                await asyncio.sleep(_TALK_S)

    async def _watch(self, socket: ClientConnection) -> None:
        """Close a silent connection. An exchange can go silent while its socket still answers pings."""
        while self._waiting_since is None or time.monotonic() - self._waiting_since < self._idle_s:
            await asyncio.sleep(min(_WATCH_S, self._idle_s))
        self._silent = True
        await socket.close(1001, "silent")


async def _close_on(stop: asyncio.Event, socket: ClientConnection) -> None:
    await stop.wait()
    await socket.close()


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
