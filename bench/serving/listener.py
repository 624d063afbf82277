"""A WebSocket client that does little more than count. A library's client would take more CPU than the service does."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Any 16 bytes: this client does not check the hash in the answer.
_KEY = "bWVkYWxsaW9uLWJlbmNoLg=="
_TEXT, _PING = 0x1, 0x9
_SHORT, _MEDIUM = 126, 127
_TIME = {"T": re.compile(rb'"T":([0-9]{13})\b'), "E": re.compile(rb'"E":([0-9]{13})\b')}


@dataclass
class Heard:
    """What listeners have received.

    Attributes:
        member: the time that is read from a message: `T`, when the trade happened, or `E`, when the message was made.
        every: only one in so many messages is read.
        begin_s: messages whose time is before this one (`time.time()`) are counted, but not kept in `ms`.
        messages: the number of messages.
        ms: the ms from the time of a message that was read to its arrival.
    """

    member: str
    every: int = 1
    begin_s: float = 0.0
    messages: int = 0
    ms: list[float] = field(default_factory=list)

    def take(self, text: bytes) -> None:
        self.messages += 1
        now_ms = time.time() * 1000
        if self.messages % self.every == 0 and (found := _TIME[self.member].search(text)):
            at_ms = int(found[1])
            if at_ms >= self.begin_s * 1000:
                self.ms.append(now_ms - at_ms)


class _Listener(asyncio.Protocol):
    def __init__(self, path: str, host: str, heard: Heard, is_open: asyncio.Future[None]) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._heard = heard
        self._is_open = is_open
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._is_open.done():
            self._is_open.set_exception(ConnectionError("the service closed the connection"))

    def data_received(self, data: bytes) -> None:
        held = self._held + data
        if not self._is_open.done():
            head, found, held = held.partition(b"\r\n\r\n")
            if not found:
                self._held = head
                return
            if b" 101 " not in head[:20]:
                self._is_open.set_exception(ConnectionError(head[:200].decode(errors="replace")))
                return
            self._is_open.set_result(None)
        self._held = self._frames(held)

    def _frames(self, held: bytes) -> bytes:
        """Take the whole frames (RFC 6455, 5.2; a server does not mask them). Returns the bytes after them."""
        at = 0
        while len(held) - at >= 2:
            size, start = held[at + 1], at + 2
            if size == _SHORT:
                start += 2
                size = int.from_bytes(held[at + 2 : start])
            elif size == _MEDIUM:
                start += 8
                size = int.from_bytes(held[at + 2 : start])
            if len(held) < start + size:
                break
            kind = held[at] & 0xF
            if kind == _TEXT:
                self._heard.take(held[start : start + size])
            elif kind == _PING and self._transport is not None:
                self._transport.write(bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + held[start : start + size])
            at = start + size
        return held[at:]


async def listen(url: str, paths: Sequence[str], heard: Heard) -> list[asyncio.Transport]:
    """Connect to each path of a service, one after the other. Returns the connections."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    loop, opened = asyncio.get_running_loop(), []
    for path in paths:
        is_open: asyncio.Future[None] = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda path=path, is_open=is_open: _Listener(path, parts.netloc, heard, is_open),  # type: ignore[misc]
            parts.hostname,
            parts.port,
        )
        await is_open
        opened.append(transport)
    return opened
