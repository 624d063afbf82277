"""Invariant: a Silver worker whose broker is away ends soon after SIGTERM, so that nobody has to kill it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.silver.stack import free_port, wait_until

# Half of what orchestrators allow by default.
MOST_S = 15.0
TRIES_AGAIN = re.compile("Failed fetch messages|Unable connect to node|Unable to update metadata")


@contextmanager
def process(log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        started = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=os.environ | environment, stdout=said, stderr=said
        )
        try:
            yield started
        finally:
            started.kill()
            started.wait()


@contextmanager
def worker(folder: Path, broker: str) -> Iterator[subprocess.Popen[bytes]]:
    """ClickHouse is away, too."""
    with process(
        folder / "worker.log", "silver_processor", MEDALLION_KAFKA_BOOTSTRAP_SERVERS=broker,
        MEDALLION_CLICKHOUSE_PORT=str(free_port()), MEDALLION_CLICKHOUSE_HTTP_PORT=str(free_port()),
        MEDALLION_METRICS_PORT=str(free_port()),
    ) as started:  # fmt: skip
        yield started


def test_a_broker_that_went_away(tmp_path: Path) -> None:
    state, log = tmp_path / "broker", tmp_path / "worker.log"
    topics = ("--topic", "market.crypto.trades.bronze:2", "--topic", "market.crypto.trades.dlq:1")
    with process(tmp_path / "broker.log", "deploy.embedded.broker", "--state", str(state), *topics) as broker:
        wait_until(state.exists)
        with worker(tmp_path, state.read_text()) as running:
            wait_until(lambda: "partitions assigned" in log.read_text())
            broker.kill()
            # Whatever the client was doing when the broker went, it tries again from here on.
            wait_until(lambda: TRIES_AGAIN.search(log.read_text()))
            running.send_signal(signal.SIGTERM)
            assert running.wait(MOST_S) == 0


@pytest.mark.parametrize("silent", [pytest.param(True, marks=pytest.mark.nightly), False])
def test_a_broker_that_was_never_there(tmp_path: Path, silent: bool) -> None:
    """One that takes connections and says nothing, and one that refuses them: that one ends the worker by itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if silent:
            listener.listen()
        with worker(tmp_path, f"127.0.0.1:{listener.getsockname()[1]}") as running:
            if silent:
                # Of the writer's client and of the one that asks about owners, then of the group's.
                taken = [listener.accept()[0] for _ in range(3)]
                running.send_signal(signal.SIGTERM)
                assert running.wait(MOST_S) == 0
                for one in taken:
                    one.close()
            else:
                assert running.wait(60) == 1
