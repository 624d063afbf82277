"""A request's body: decoded, read as it arrives, from the event loop or from a worker thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp import web
from lz4 import frame as lz4  # type: ignore[import-untyped]

from deploy.embedded.clickhouse.errors import NOT_IMPLEMENTED, refusal

# A statement's beginning up to its data has to fit in here; more of an INSERT streams.
HEAD_BYTES = 1 << 18
_PART_BYTES = 1 << 20
# aiohttp undoes these itself.
_DECODED = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})


class Body:
    """The body of one request, read once."""

    def __init__(self, request: web.Request) -> None:
        """Prepare to read.

        Raises:
            EngineError: 48 for an unknown Content-Encoding.
        """
        encoding = request.headers.get("Content-Encoding", "").lower()
        if encoding not in _DECODED and encoding != "lz4":
            reason = f"Content-Encoding {encoding} is not supported; use gzip, deflate, zstd or lz4"
            raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
        self._content = request.content
        self._loop = asyncio.get_running_loop()
        self._decompressor = lz4.LZ4FrameDecompressor() if encoding == "lz4" else None
        self.is_complete = not request.body_exists

    async def read(self, wanted: int) -> bytes:
        """At least `wanted` bytes, or all that is left.

        Raises:
            ClientError, ConnectionError: the client broke off.
        """
        parts: list[bytes] = []
        length = 0
        while length < wanted and not self.is_complete:
            part = await self._content.readany()
            self.is_complete = self._content.at_eof()
            if self._decompressor is not None and part:
                part = self._decompressor.decompress(part)
            parts.append(part)
            length += len(part)
        return b"".join(parts)

    async def read_all(self) -> bytes:
        """Everything that is left."""
        parts = []
        while not self.is_complete:
            parts.append(await self.read(_PART_BYTES))
        return b"".join(parts)

    def parts(self) -> Iterator[bytes]:
        """Everything that is left, for a thread other than the event loop's."""
        while not self.is_complete:
            if part := asyncio.run_coroutine_threadsafe(self.read(_PART_BYTES), self._loop).result():
                yield part
