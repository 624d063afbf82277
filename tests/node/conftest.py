"""A real node process, and the unmodified clients that talk to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client as HttpClient
from clickhouse_driver import Client as NativeClient

from deploy.embedded.ports import free_ports

PASSWORD = "s3cret"
ANALYST_PASSWORD = "r3ad"
ANALYST_DATABASE = "shop"
ANALYST_TABLES = ("candles", "candles_other")
PASSWORDS = {"NODE_PASSWORD": PASSWORD, "NODE_ANALYST_PASSWORD": ANALYST_PASSWORD}
_START_S = 60
_STOP_S = 20
# Where nodes of the fixtures have their data: whatever is tested, it is tested of a path with blanks.
FOLDER = "a folder & more"


def free_port() -> int:
    (port,) = free_ports(1)
    return port


def eventually(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass
class NodeProcess:
    path: Path
    native_port: int
    http_port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/"

    def native(self, **options: object) -> NativeClient:
        return NativeClient("127.0.0.1", self.native_port, **{"password": PASSWORD, **options})

    def http(self, **options: object) -> HttpClient:
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.http_port, **{"password": PASSWORD, **options})

    def curl(self, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = ["curl", "-sS", "--max-time", "30", "-u", f"default:{PASSWORD}", *arguments]
        return subprocess.run(command, input=data, capture_output=True, timeout=40, check=False)

    def running(self, like: str) -> int:
        """How many running queries contain a text."""
        client = self.native()
        sql = "SELECT count() FROM system.processes WHERE query LIKE %(like)s AND query NOT LIKE '%%processes%%'"
        found: int = client.execute(sql, {"like": f"%{like}%"})[0][0]
        client.disconnect()
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_STOP_S)


def command(path: Path, native_port: int, http_port: int, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "deploy.embedded.clickhouse", "--path", str(path)),
        *("--native-port", str(native_port), "--http-port", str(http_port), "--password-env", "NODE_PASSWORD"),
        *("--analyst-password-env", "NODE_ANALYST_PASSWORD"),
        *(word for table in ANALYST_TABLES for word in ("--analyst-table", f"{ANALYST_DATABASE}.{table}")),
        *more,
    ]


def start(path: Path, *more: str) -> NodeProcess:
    native_port, http_port = free_port(), free_port()
    process = subprocess.Popen(
        command(path, native_port, http_port, *more),
        env={**os.environ, **PASSWORDS, "TZ": "Asia/Tokyo"},
    )
    eventually(lambda: process.poll() is not None or _answers(native_port, http_port), "node ready", _START_S)
    assert process.poll() is None, "the node ended"
    return NodeProcess(path, native_port, http_port, process)


def _answers(*ports: int) -> bool:
    try:
        for port in ports:
            socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all tests that leave it as it was."""
    running = start(tmp_path_factory.mktemp("node") / FOLDER)
    yield running
    assert running.stop() == 0


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node to be maltreated."""
    running = start(tmp_path / FOLDER)
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGKILL)


@pytest.fixture
def database(node: NodeProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database, named after the test."""
    name = "t_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
    client = node.native()
    client.execute(f"CREATE DATABASE {name}")
    yield name
    client.execute(f"DROP DATABASE {name}")
    client.disconnect()
