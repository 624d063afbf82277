"""Reads bytes that arrive in pieces: from a socket, from compressed frames, or from memory."""

from __future__ import annotations

import socket
from typing import Protocol

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, refusal
from deploy.embedded.clickhouse.native_format.compression import FRAME_HEAD_BYTES, decode_frame, frame_length

_RECEIVE_BYTES = 1 << 18
_VARINT_END = 0x80
_VARINT_BITS = 63
# The longest text, and the largest buffer, before the login.
HELLO_BYTES = 1 << 12
# The longest text: a statement with its rows. Names, types and settings are much shorter.
TEXT_BYTES = 1 << 24
# Largest block of an INSERT. The buffer holds a whole block before the engine gets it.
BLOCK_BYTES = 1 << 28


class ClientGoneError(ConnectionError):
    """The client closed its connection."""


class ByteFeed(Protocol):
    """Gives a `ByteSource` more bytes."""

    def more(self) -> bytes:
        """Return at least one more byte.

        Raises:
            ClientGoneError: no more bytes will come.
        """
        ...


class SocketFeed:
    """The bytes of a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def more(self) -> bytes:
        """Return whatever has arrived."""
        try:
            received = self._connection.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise ClientGoneError(str(error)) from error
        if not received:
            raise ClientGoneError("the client closed the connection")
        return received


class EmptyFeed:
    """Gives no bytes: a `ByteSource` has only those in memory."""

    def more(self) -> bytes:
        """Always raises."""
        raise ClientGoneError("the data ended early")


class ByteSource:
    """A buffer with a reading position: `buffer[position:]` is unread.

    Attributes:
        limit: how many bytes the buffer may hold. A client that announces more is refused at once.
    """

    def __init__(self, feed: ByteFeed, initial: bytes = b"", limit: int = BLOCK_BYTES) -> None:
        self._feed = feed
        self.buffer = bytearray(initial)
        self.position = 0
        self.limit = max(limit, len(initial))

    def need(self, count: int) -> None:
        """Wait until the buffer has at least `count` unread bytes.

        Raises:
            EngineError: 12 for a negative count or one beyond `limit`.
        """
        if not 0 <= count <= self.limit - self.position:
            reason = f"The client announces {count} bytes: send smaller blocks (insert_block_size) or less text"
            raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", reason)
        while len(self.buffer) - self.position < count:
            self.buffer += self._feed.more()

    def discard_read(self) -> None:
        """Drop the bytes that were read."""
        del self.buffer[: self.position]
        self.position = 0

    def skip(self, count: int) -> None:
        """Read `count` bytes and leave them in the buffer."""
        self.need(count)
        self.position += count

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        self.skip(count)
        return bytes(self.buffer[self.position - count : self.position])

    def integer(self, width: int) -> int:
        """An unsigned little-endian number of `width` bytes."""
        return int.from_bytes(self.read(width), "little")

    def varint(self) -> int:
        """An unsigned LEB128 number.

        Raises:
            EngineError: 12 for more than 63 bits: no count or size is that large.
        """
        value = shift = 0
        while shift < _VARINT_BITS:
            self.need(1)
            byte = self.buffer[self.position]
            self.position += 1
            value |= (byte & (_VARINT_END - 1)) << shift
            if byte < _VARINT_END:
                return value
            shift += 7
        raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", "The client announces a number of more than 63 bits")

    def string(self, limit: int = TEXT_BYTES) -> str:
        """A length-prefixed text. Bytes that are not UTF-8 become surrogates.

        Raises:
            EngineError: 12 for a text of more than `limit` bytes.
        """
        length = self.varint()
        if length > limit:
            reason = f"The client announces a text of {length} bytes; at most {limit} are allowed here"
            raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", reason)
        return self.read(length).decode("utf-8", "surrogateescape")

    def skip_strings(self, count: int) -> None:
        """Read `count` length-prefixed strings and leave them in the buffer."""
        buffer, position, end = self.buffer, self.position, len(self.buffer)
        for _ in range(count):
            # The common case needs no call: a length below 128, and the whole string has arrived.
            if position < end and (length := buffer[position]) < _VARINT_END:
                position += length + 1
                if position <= end:
                    continue
                position -= length + 1
            self.position = position
            self.skip(self.varint())
            position, end = self.position, len(buffer)
        self.position = position


class FrameFeed:
    """The content of compressed frames that another source gives."""

    def __init__(self, outer: ByteSource) -> None:
        self._outer = outer

    def more(self) -> bytes:
        """The content of the next frame."""
        head = self._outer.read(FRAME_HEAD_BYTES)
        rest = self._outer.read(frame_length(head) - FRAME_HEAD_BYTES)
        self._outer.discard_read()
        return decode_frame(head + rest)
