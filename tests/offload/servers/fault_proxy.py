"""A proxy between S3 clients and the server that breaks requests on demand: it never changes what it lets through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["refuse", "reset", "lose the answer", "cut the answer", "delay"]
KINDS: tuple[Kind, ...] = ("refuse", "reset", "lose the answer", "cut the answer", "delay")
_METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\n"
    b"Content-Length: 60\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>wait</Message></Error> "
)
DELAY_SECONDS = 0.4


class FaultProxy:
    """Passes connections on to `upstream` (a port of this machine); breaks `times` requests, skipping some first."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._kind: Kind | None = None
        self._skip = self._times = 0
        self.broken = 0
        self.port = 0

    def arm(self, kind: Kind, skip: int, times: int) -> None:
        """Break requests from now on, until `times` of them are broken or `disarm`."""
        self._kind, self._skip, self._times, self.broken = kind, skip, times, 0

    def disarm(self) -> int:
        """Let everything pass; how many requests were broken."""
        self._kind = None
        return self.broken

    @contextmanager
    def serve(self) -> Iterator[FaultProxy]:
        """Listen while the context lasts."""
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            server.close()

    def _next(self) -> Kind | None:
        if self._kind is None or self._times == 0:
            return None
        if self._skip:
            self._skip -= 1
            return None
        self._times -= 1
        self.broken += 1
        return self._kind

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._upstream)
        limit: list[int] = []
        answers = asyncio.create_task(self._answer(back, writer, limit))
        try:
            while data := await reader.read(1 << 16):
                fault = self._next() if data.startswith(_METHODS) else None
                if fault == "reset":
                    writer.transport.abort()
                    return
                if fault == "refuse":
                    writer.write(_BUSY)
                    await writer.drain()
                    return
                if fault == "delay":
                    await asyncio.sleep(DELAY_SECONDS)
                elif fault is not None:
                    limit.append(0 if fault == "lose the answer" else 300)
                forth.write(data)
                await forth.drain()
        except ConnectionError:
            return
        finally:
            forth.close()
            await asyncio.wait([answers], timeout=5)
            writer.close()

    @staticmethod
    async def _answer(back: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: list[int]) -> None:
        try:
            while data := await back.read(1 << 16):
                if limit:
                    writer.write(data[: limit[0]])
                    await asyncio.sleep(0)
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
