"""Accepts clients of the native protocol, each in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

import structlog

from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.errors import NodeStartError
from deploy.embedded.clickhouse.native.connection import ClientConnection
from deploy.embedded.clickhouse.native.watcher import Watcher
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.sql.policy import Role

_BACKLOG = 128
_POLL_S = 0.02
_PAUSE_S = 0.2
_HANG_UP_S = 5.0
MOST_CLIENTS = 1_000  # each has a thread
_log = structlog.get_logger(__name__)


class NativeServer:
    """The native port of a node."""

    def __init__(
        self, engine: Engine, access: Access, open_session: Callable[[str, Role], Session], host: str, port: int
    ) -> None:
        """Bind the port.

        Raises:
            NodeStartError: the port is taken or not permitted.
        """
        self._engine = engine
        self._access = access
        self._open_session = open_session
        try:
            self._listener = socket.create_server((host, port), backlog=_BACKLOG)
        except OSError as error:
            reason = f"cannot listen on {host}:{port} (native protocol): {error.strerror}. Choose another port."
            raise NodeStartError(reason) from error
        self.port: int = self._listener.getsockname()[1]
        self._version = engine.version()
        self._watcher = Watcher()
        self._lock = threading.Lock()
        self._clients: set[ClientConnection] = set()
        self._stopping = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name="native-acceptor", daemon=True)

    def start(self) -> None:
        """Begin to accept clients."""
        self._acceptor.start()

    def stop(self, grace_s: float) -> None:
        """Accept no more clients, wait `grace_s` seconds for running queries, kill the rest, end every session."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor
        self._listener.close()
        if self._acceptor.is_alive():
            self._acceptor.join()
        deadline = time.monotonic() + grace_s
        while any(client.is_busy for client in self._served()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        deadline = time.monotonic() + _HANG_UP_S
        while served := self._served():
            for client in served:
                client.hang_up()
            if time.monotonic() > deadline:
                _log.error("clients still connected at the end of the stop", clients=len(served))
                break
            time.sleep(_POLL_S)
        self._watcher.close()

    def _served(self) -> list[ClientConnection]:
        with self._lock:
            return list(self._clients)

    def _accept(self) -> None:
        while True:
            try:
                connection, (peer, *_) = self._listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                _log.warning("a client was not accepted", error=str(error))  # probably too many open files
                time.sleep(_PAUSE_S)
                continue
            with self._lock:
                is_full = len(self._clients) >= MOST_CLIENTS
            if is_full:
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection, peer), name="native-client", daemon=True).start()

    def _serve(self, connection: socket.socket, peer: str) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = ClientConnection(
            connection, self._access, self._version, self._engine.setting_names, self._watcher, peer
        )
        with self._lock:
            self._clients.add(client)
        try:
            with connection, suppress(ConnectionError):  # the client has left
                session = client.greet(self._open_session)
                if session is not None:
                    with closing(session):
                        client.serve(session)
        finally:
            with self._lock:
                self._clients.discard(client)
