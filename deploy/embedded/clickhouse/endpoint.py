"""The socket to which the node's sink tables post their inserts."""

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
TOKEN_HEADER = "X-Sink-Token"  # noqa: S105 - the name of a header, not a token
_LONGEST_LINE = 1 << 16
# `http.client` has such a limit too, but importing clickhouse-connect raises it for the whole process.
_MOST_HEADERS = 100
_LOCALHOST = "127.0.0.1"
_log = structlog.get_logger(__name__)


class SinkRefusedError(Exception):
    """The rows of an insert were not delivered. The insert fails with this text and may be tried again."""


@dataclass(frozen=True)
class Address:
    """The URL to post to, and the token that every post must carry."""

    url: str
    token: str


# The address in a node without Kafka tables. Nothing listens there.
NO_SINKS = Address("http://127.0.0.1:1/", "")


class Endpoint:
    """Receives each insert into a sink from the engine of this process, and answers when its rows are delivered.

    It listens on the loopback interface only. Each start makes a new token, which only the engine's configuration has.
    So no other process of the machine can write to a sink.
    """

    def __init__(self) -> None:
        """Bind a free port. Posts wait in its queue until `start`."""
        self._socket = socket.create_server((_LOCALHOST, 0), backlog=128)
        self._token = secrets.token_urlsafe(32)
        self._deliver: Callable[[str, bytes], None] | None = None
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="sink endpoint", daemon=True)

    @property
    def address(self) -> Address:
        """The URL and token for the engine's configuration."""
        return Address(f"http://{_LOCALHOST}:{self._socket.getsockname()[1]}/", self._token)

    def start(self, deliver: Callable[[str, bytes], None]) -> None:
        """Start to serve.

        Args:
            deliver: called with a sink table's UUID and an Avro container. It returns when all rows are delivered. If
                it raises `SinkRefusedError`, the insert fails.
        """
        self._deliver = deliver
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
        """Answer the posts of one connection in turn. The engine keeps its connections open."""
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
            if body and self._deliver is not None:
                self._deliver(head.get(TABLE_HEADER, ""), body)
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
