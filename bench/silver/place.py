"""A broker and a ClickHouse node with the migrations, on which contenders are measured in turn."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickhouse_driver import Client
from confluent_kafka.admin import AdminClient, NewTopic

from config.connections import clickhouse_native
from config.settings import Settings
from ddl.runner import apply
from deploy.embedded.kafka import jars, server, topics
from deploy.embedded.ports import LOOPBACK, free_ports

TRADES_TOPIC = "bench.trades"
# The query that watches the candles. It is that of the other measurements of our stack.
LOOK = (Path(__file__).parents[1] / "sql" / "visible.sql").read_text(encoding="utf-8")
_START_S = 60.0
# The folder in which `python -m bench…` works.
_ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.05
TOUCHED = ("silver_trades", "gold_ohlcv_state")


class PlaceError(RuntimeError):
    """A process of the measurement did not start, or ended."""


@dataclass(frozen=True, slots=True)
class Place:
    """Endpoints of the running broker and node, and the environment with which a process reaches them."""

    folder: Path
    settings: Settings
    environment: Mapping[str, str]
    node_pid: int

    def client(self) -> Any:
        """A native connection."""
        return Client(**clickhouse_native(self.settings), database=self.settings.clickhouse_database)

    def empty(self) -> None:
        """Empty Silver and Gold. ClickHouse forgets the tokens of their inserts with the rows."""
        client = self.client()
        for table in TOUCHED:
            client.execute(f"TRUNCATE TABLE {table}")
        client.disconnect()

    def new_topic(self, name: str) -> None:
        """Create an empty topic of one partition, in place of an older one of this name."""
        admin = AdminClient({"bootstrap.servers": self.settings.kafka_bootstrap_servers, "log_level": 0})
        if name in admin.list_topics(timeout=_START_S).topics:
            admin.delete_topics([name], operation_timeout=_START_S)[name].result(_START_S)
            wait_until(lambda: name not in admin.list_topics(timeout=_START_S).topics, f"topic {name} to go")
        config = {"max.message.bytes": str(self.settings.kafka_max_message_bytes)}
        admin.create_topics([NewTopic(name, 1, 1, config=config)], operation_timeout=_START_S)[name].result(_START_S)

    @contextmanager
    def process(self, name: str, argv: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a contender's process, and stop it at the end. Its output is in `<folder>/<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                argv, cwd=_ROOT, env={**os.environ, **self.environment, **environment}, stdout=log, stderr=log
            )
            try:
                yield started
            finally:
                # An orderly stop commits its offsets, and the next process starts after them.
                _stop(started)


@contextmanager
def open_place(symbols_file: Path | None = None) -> Iterator[Place]:
    """Start Apache Kafka (the in-memory broker drops a backlog) and a node with all migrations.

    Raises:
        StackError: Java or Maven is missing.
        PlaceError: a process does not start.
    """
    with tempfile.TemporaryDirectory(prefix="medallion-bench-", ignore_cleanup_errors=True) as name, ExitStack() as end:
        folder = Path(name)
        native, http = free_ports(2)
        servers = _kafka(folder / "kafka", end)
        values: dict[str, str] = {
            "kafka_bootstrap_servers": servers,
            "clickhouse_kafka_brokers": servers,
            "clickhouse_host": LOOPBACK,
            "clickhouse_port": str(native),
            "clickhouse_http_port": str(http),
            "clickhouse_password": secrets.token_urlsafe(),
        }
        if symbols_file is not None:
            values["symbols_file"] = str(symbols_file)
        environment = {f"MEDALLION_{key.upper()}": value for key, value in values.items()}
        settings = Settings.from_environment({**os.environ, **environment})
        topics.create(settings)
        node = _spawn(
            end,
            folder / "node.log",
            *(sys.executable, "-m", "deploy.embedded.clickhouse", "--path", str(folder / "store")),
            *("--native-port", str(native), "--http-port", str(http), "--kafka-brokers", servers),
            *("--password-env", "MEDALLION_CLICKHOUSE_PASSWORD"),
            environment=environment,
        )
        wait_until(lambda: answers(f"http://{LOOPBACK}:{http}/ping"), "the ClickHouse node", node)
        client = Client(**clickhouse_native(settings))
        apply(client, settings)
        client.disconnect()
        yield Place(folder, settings, environment, node.pid)


def wait_until(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until the condition holds.

    Raises:
        PlaceError: it does not hold after a minute, or the process ended.
    """
    deadline = time.monotonic() + _START_S
    while not condition():
        if process is not None and process.poll() is not None:
            raise PlaceError(f"{what}: the process ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise PlaceError(f"waited {_START_S:.0f} s for {what} in vain: measure again on a machine that is not busy")
        time.sleep(_POLL_S)


def answers(url: str) -> bool:
    """Whether the URL answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _kafka(folder: Path, end: ExitStack) -> str:
    kafka = jars.find(None)
    servers = server.prepare(folder, kafka, Settings().kafka_max_message_bytes)
    process = _spawn(end, folder.with_suffix(".log"), *server.argv(folder, kafka))
    wait_until(lambda: topics.answers({"bootstrap.servers": servers}), "Kafka", process)
    return servers


def _spawn(
    end: ExitStack, log: Path, *argv: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    file = end.enter_context(log.open("ab"))
    process = subprocess.Popen(argv, stdout=file, stderr=file, env={**os.environ, **(environment or {})})
    end.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
