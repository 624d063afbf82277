"""The socket of the node that its sink tables post their inserts to."""

from __future__ import annotations

import hmac
import http.client
import io
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from typing import BinaryIO

import structlog

SINKS = "kafka_sinks"  # the named collection in node-config.xml
TABLE_HEADER = "X-Sink-Table"
TOKEN_HEADER = "X-Sink-Token"  # noqa: S105 - its name
_LONGEST_LINE = 1 << 16
# `http.client` has a limit of its own, but clickhouse-connect raises it for the whole process when it is imported.
_MOST_HEADERS = 100
_LOCALHOST = "127.0.0.1"
_log = structlog.get_logger(__name__)


class SinkRefusedError(Exception):
    """The rows of a post were not taken; the insert fails with this text and may be tried again."""


@dataclass(frozen=True)
class Address:
    """Where to post, and the token that every post has to bring."""

    url: str
    token: str


# Of a node without Kafka tables: nothing listens there.
NO_SINKS = Address("http://127.0.0.1:1/", "")


class Endpoint:
    """Takes an insert's container from the engine in this process, and answers when its rows are delivered.

    Only the loopback interface is bound. The token is new with every start and is known to the engine's configuration
    alone, so that no other process of the machine can write to a sink.
    """

    def __init__(self) -> None:
        """Bind a free port; posts wait in its queue until `start`."""
        self._socket = socket.create_server((_LOCALHOST, 0), backlog=128)
        self._token = secrets.token_urlsafe(32)
        self._take: Callable[[str, bytes], None] | None = None
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="sink endpoint", daemon=True)

    @property
    def address(self) -> Address:
        """For the engine's configuration."""
        return Address(f"http://{_LOCALHOST}:{self._socket.getsockname()[1]}/", self._token)

    def start(self, take: Callable[[str, bytes], None]) -> None:
        """Serve.

        Args:
            take: called with a sink table's UUID and a container; returns when all rows are delivered. What raises
                `SinkRefusedError` fails the insert.
        """
        self._take = take
        self._thread.start()

    def close(self) -> None:
        """Close the port and every connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="sink post", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Answer one post after the other; the engine keeps its connections."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as stream:
                while request := stream.readline(_LONGEST_LINE):
                    connection.sendall(self._answer(request, _head(stream), stream))
        except (OSError, ValueError, http.client.HTTPException) as error:
            _log.debug("sink connection ended", error=str(error))
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, request: bytes, head: Message, stream: BinaryIO) -> bytes:
        if not hmac.compare_digest(head.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            raise ValueError("a post without this node's token")
        if not request.startswith(b"POST "):
            return _response("405 Method Not Allowed", "a Kafka table that writes a topic cannot be read")
        body = _body(head, stream)
        try:
            if body and self._take is not None:
                self._take(head.get(TABLE_HEADER, ""), body)
        except SinkRefusedError as error:
            return _response("503 Service Unavailable", str(error))
        return _response("200 OK", "")


def _head(stream: BinaryIO) -> Message:
    lines: list[bytes] = []
    while (line := stream.readline(_LONGEST_LINE)) not in (b"\r\n", b"\n", b""):
        lines.append(line)
        if len(line) == _LONGEST_LINE or len(lines) > _MOST_HEADERS:
            raise ValueError(f"a head of more than {_MOST_HEADERS} lines, or one of more than {_LONGEST_LINE} bytes")
    return http.client.parse_headers(io.BytesIO(b"".join(lines)))


def _body(head: Message, stream: BinaryIO) -> bytes:
    if head.get("Transfer-Encoding", "").lower() != "chunked":
        return _exactly(stream, int(head.get("Content-Length", "0")))
    chunks: list[bytes] = []
    while size := int(stream.readline(1 << 10).split(b";", 1)[0], 16):
        chunks.append(_exactly(stream, size))
        stream.readline(1 << 10)
    _head(stream)  # trailers
    return b"".join(chunks)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("the engine closed the connection in the middle of an insert")
    return data


def _response(status: str, text: str) -> bytes:
    body = text.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
