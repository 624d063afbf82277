"""One thread that notices when a client cancels or leaves while its query runs."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.embedded.clickhouse.native_format.packets import ClientPacket

_INTERVAL_S = 0.05


@dataclass
class Watch:
    """A running query. `stopped` is True once its client cancelled or left."""

    connection: socket.socket
    kill: Callable[[], None]
    stopped: bool = False


class Watcher:
    """Looks at the sockets of running queries without taking bytes from them. Nobody else may read them meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: list[Watch] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="client-watcher", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self, connection: socket.socket, kill: Callable[[], None]) -> Iterator[Watch]:
        """Once the client cancels or leaves, call `kill` repeatedly until the `with` block ends."""
        watch = Watch(connection, kill)
        with self._changed:
            self._watches.append(watch)
            self._changed.notify()
        try:
            yield watch
        finally:
            with self._changed:
                self._watches.remove(watch)

    def close(self) -> None:
        """Stop the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watches or self._closing)
                if self._closing:
                    return
                self._changed.wait(_INTERVAL_S)
                stopped = [watch for watch in self._watches if _stopped(watch)]
            for watch in stopped:
                watch.stopped = True
                watch.kill()


def _stopped(watch: Watch) -> bool:
    try:
        # Not select(): it takes no descriptor from 1024 on, and a thousand connections are allowed.
        readable = select.poll()
        readable.register(watch.connection, select.POLLIN)
        if not readable.poll(0):
            return watch.stopped
        ahead = watch.connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):  # reset by the client, or closed by the node
        return True
    return not ahead or ahead[0] == ClientPacket.CANCEL
