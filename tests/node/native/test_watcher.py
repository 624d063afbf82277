"""Who is taken for gone while a query runs."""

from __future__ import annotations

import fcntl
import resource
import socket
import threading
from collections.abc import Iterator

import pytest

from deploy.embedded.clickhouse.native.watcher import Watcher

FIRST_BEYOND_SELECT = 1024


@pytest.fixture
def many_files() -> Iterator[None]:
    """More descriptors than select() knows, as the node allows itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * FIRST_BEYOND_SELECT), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_client_is_not_gone_because_many_are_connected() -> None:
    """Its query would be killed, and its answer be empty."""
    client, served = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(served.fileno(), fcntl.F_DUPFD, FIRST_BEYOND_SELECT))
    served.close()
    gone, left = socket.socketpair()
    gone.close()
    rounds, killed, watcher = threading.Semaphore(0), threading.Event(), Watcher()
    try:
        with watcher.watching(high, killed.set) as watch, watcher.watching(left, rounds.release):
            # The one that has left is seen in every round: two of them have passed.
            assert rounds.acquire(timeout=10)
            assert rounds.acquire(timeout=10)
            assert not watch.stopped
            client.close()
            assert killed.wait(10)
    finally:
        watcher.close()
        high.close()
        left.close()
