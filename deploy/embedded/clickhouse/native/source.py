"""Bytes that arrive piece by piece: from a socket, from compressed frames inside one, or from memory."""

from __future__ import annotations

import socket
from typing import Protocol

from deploy.embedded.clickhouse.native.compression import FRAME_HEAD_BYTES, decode_frame, frame_length

_RECEIVE_BYTES = 1 << 18
_VARINT_END = 0x80
_MAX_STRING_BYTES = 1 << 30


class ClientGoneError(ConnectionError):
    """The client closed its connection."""


class Feed(Protocol):
    """Where more bytes come from."""

    def more(self) -> bytes:
        """At least one more byte.

        Raises:
            ClientGoneError: there will be none.
        """
        ...


class SocketFeed:
    """The bytes of a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def more(self) -> bytes:
        """Whatever has arrived."""
        try:
            received = self._connection.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise ClientGoneError(str(error)) from error
        if not received:
            raise ClientGoneError("the client closed the connection")
        return received


class EmptyFeed:
    """Nothing beyond what is in memory."""

    def more(self) -> bytes:
        """Never returns."""
        raise ClientGoneError("the data ended early")


class Source:
    """A window of bytes with a reading position; `buffer[position:]` is unread."""

    def __init__(self, feed: Feed, initial: bytes = b"") -> None:
        self._feed = feed
        self.buffer = bytearray(initial)
        self.position = 0

    def need(self, count: int) -> None:
        """Have at least `count` unread bytes in the buffer."""
        while len(self.buffer) - self.position < count:
            self.buffer += self._feed.more()

    def discard_read(self) -> None:
        """Forget what was read."""
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
        """An unsigned LEB128 number."""
        value = shift = 0
        while True:
            self.need(1)
            byte = self.buffer[self.position]
            self.position += 1
            value |= (byte & (_VARINT_END - 1)) << shift
            if byte < _VARINT_END:
                return value
            shift += 7

    def string(self) -> str:
        """A length-prefixed text; bytes that are not UTF-8 survive as surrogates."""
        length = self.varint()
        if length > _MAX_STRING_BYTES:
            raise ClientGoneError(f"a string of {length} bytes: this is not the native protocol")
        return self.read(length).decode("utf-8", "surrogateescape")

    def skip_strings(self, count: int) -> None:
        """Read `count` length-prefixed strings and leave them in the buffer."""
        buffer, position, end = self.buffer, self.position, len(self.buffer)
        for _ in range(count):
            # The common case without a call: a length below 128, and it is here.
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
    """The content of compressed frames that arrive inside another source."""

    def __init__(self, outer: Source) -> None:
        self._outer = outer

    def more(self) -> bytes:
        """The content of the next frame."""
        head = self._outer.read(FRAME_HEAD_BYTES)
        rest = self._outer.read(frame_length(head) - FRAME_HEAD_BYTES)
        self._outer.discard_read()
        return decode_frame(head + rest)
