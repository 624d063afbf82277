"""A request's body, read and decoded piece by piece, from the event loop or from a worker thread."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from aiohttp import web
from backports import zstd
from lz4 import frame as lz4  # type: ignore[import-untyped]

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, NOT_IMPLEMENTED, EngineError, refusal
from deploy.embedded.clickhouse.native_format.compression import FRAME_HEAD_BYTES, decode_frame, frame_length
from deploy.embedded.clickhouse.sql.statements import MAX_STATEMENT

# The statement before the rows of an INSERT may be this long. The rows themselves stream.
HEAD_BYTES = 1 << 18
# The longest statement that is not an INSERT. A character takes up to four bytes.
TEXT_BYTES = 4 * MAX_STATEMENT
_PART_BYTES = 1 << 20
_CANNOT_DECOMPRESS = 271
_GZIP_WINDOW = 31
_MAX_WINDOW = {int(zstd.DecompressionParameter.window_log_max): 24}


class Decoder(Protocol):
    """Decodes in steps of limited size."""

    def step(self, data: bytes, most: int) -> bytes:
        """Decode at most `most` bytes, first from what is left of earlier data, then from `data`."""
        ...

    @property
    def wants_data(self) -> bool:
        """Whether it needs more data for the next step."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether the content may end with what was decoded last."""
        ...


class _Zlib:
    def __init__(self, window: int) -> None:
        self._window = window
        self._decoder = zlib.decompressobj(window)
        self._left = b""

    def step(self, data: bytes, most: int) -> bytes:
        if self._decoder.eof:  # several gzip files may follow each other
            self._left = self._decoder.unused_data
            if not self._left + data:
                return b""
            self._decoder = zlib.decompressobj(self._window)
        found = self._decoder.decompress(self._left + data, most)
        self._left = self._decoder.unconsumed_tail
        return found

    @property
    def wants_data(self) -> bool:
        return not self._left and not (self._decoder.eof and self._decoder.unused_data)

    @property
    def is_whole(self) -> bool:
        return self._decoder.eof


class _Framed:
    """zstd or lz4 frames, one after the other."""

    def __init__(self, make: Callable[[], zstd.ZstdDecompressor]) -> None:
        self._make = make
        self._decoder = make()

    def step(self, data: bytes, most: int) -> bytes:
        if self._decoder.eof:
            data = (self._decoder.unused_data or b"") + data
            if not data:
                return b""
            self._decoder = self._make()
        return bytes(self._decoder.decompress(data, most))

    @property
    def wants_data(self) -> bool:
        if self._decoder.eof:
            return not self._decoder.unused_data
        return bool(self._decoder.needs_input)

    @property
    def is_whole(self) -> bool:
        return bool(self._decoder.eof)


class _CheckedFrames:
    """ClickHouse's own compressed frames."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._content = b""

    def step(self, data: bytes, most: int) -> bytes:
        self._packed += data
        if not self._content and (length := self._frame_length()):
            self._content = decode_frame(bytes(self._packed[:length]))
            del self._packed[:length]
        found, self._content = self._content[:most], self._content[most:]
        return found

    @property
    def wants_data(self) -> bool:
        return not self._content and not self._frame_length()

    @property
    def is_whole(self) -> bool:
        return not self._content and not self._packed

    def _frame_length(self) -> int:
        """Bytes of the first frame, 0 while it has not arrived."""
        if len(self._packed) < FRAME_HEAD_BYTES:
            return 0
        length = frame_length(bytes(self._packed[:FRAME_HEAD_BYTES]))
        return length if length <= len(self._packed) else 0


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(_GZIP_WINDOW),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "zstd": lambda: _Framed(lambda: zstd.ZstdDecompressor(options=_MAX_WINDOW)),
    "lz4": lambda: _Framed(lz4.LZ4FrameDecompressor),
}


class Body:
    """The body of one request, read once. Memory holds one part of it, however large the decoded body is."""

    def __init__(self, request: web.Request, *, is_in_frames: bool = False) -> None:
        """Prepare to read.

        Args:
            request: the request.
            is_in_frames: the body is in ClickHouse's own compressed frames (`decompress=1`).

        Raises:
            EngineError: 48 for an unknown Content-Encoding, or one together with frames.
        """
        encoding = request.headers.get("Content-Encoding", "").lower()
        if encoding not in {"", "identity", *_DECODERS}:
            reason = f"Content-Encoding {encoding[:20]} is not supported; use gzip, deflate, zstd or lz4"
            raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
        self._content = request.content
        self._loop = asyncio.get_running_loop()
        self._decoder: Decoder | None = _CheckedFrames() if is_in_frames else None
        if encoding in _DECODERS:
            if is_in_frames:
                reason = "Content-Encoding and decompress=1 in one request: use one of them"
                raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
            self._decoder = _DECODERS[encoding]()
        self._length = 0  # bytes that have arrived
        self._has_arrived = not request.body_exists
        self.is_complete = self._has_arrived

    async def read(self, wanted: int) -> bytes:
        """Read at least `wanted` bytes, or all that is left, and at most one part more than `wanted`.

        Raises:
            EngineError: 271 where the content cannot be decoded.
            ClientError, ConnectionError: the client closed the connection.
        """
        parts: list[bytes] = []
        length = 0
        while length < wanted and not self.is_complete:
            part = await self._next()
            parts.append(part)
            length += len(part)
        return b"".join(parts)

    def rest(self, limit: int) -> bytes:
        """Everything that is left. Call it outside the event loop's thread.

        Raises:
            EngineError: 12 if it is more than `limit` bytes.
        """
        parts: list[bytes] = []
        length = 0
        for part in self.parts():
            parts.append(part)
            length += len(part)
            if length > limit:
                reason = f"The statement has more than {limit} bytes; only the rows of an INSERT have no limit"
                raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", reason)
        return b"".join(parts)

    def parts(self) -> Iterator[bytes]:
        """Everything that is left, in parts. Call it outside the event loop's thread."""
        while not self.is_complete:
            if part := asyncio.run_coroutine_threadsafe(self.read(_PART_BYTES), self._loop).result():
                yield part

    async def _next(self) -> bytes:
        """The next piece of the content, which may be empty."""
        decoder = self._decoder
        data = b""
        if not self._has_arrived and (decoder is None or decoder.wants_data):
            data = await self._content.readany()
            self._has_arrived = self._content.at_eof()
        if decoder is None:
            self.is_complete = self._has_arrived
            return data
        try:
            # One step at a time, because a step blocks the event loop.
            found = decoder.step(data, HEAD_BYTES)
        except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
            raise _undecodable(error) from error
        self.is_complete = self._has_arrived and decoder.wants_data
        self._length += len(data)
        if self.is_complete and self._length and not decoder.is_whole:
            # A body that was cut off is an error. Otherwise an INSERT would have fewer rows.
            raise _undecodable(EOFError("it ends in the middle of compressed data"))
        return found


def _undecodable(error: Exception) -> EngineError:
    return refusal(_CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", f"The body cannot be decoded: {error}")
