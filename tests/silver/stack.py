"""In-memory broker, ClickHouse node with all migrations, Silver workers that a test can kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tenacity
from clickhouse_driver import Client
from confluent_kafka import Producer

from config.settings import Settings
from ddl.runner import apply
from deploy.embedded.ports import free_ports
from tests.clickhouse import ARGUMENTS, ENVIRONMENT, PASSWORD

EMBEDDED = "embedded"


def wait_until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Wait for a condition; it may raise OSError while a server starts."""
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(seconds),
        retry=tenacity.retry_if_exception_type((AssertionError, OSError)),
        reraise=True,
    ):
        with attempt:
            assert condition()


def free_port() -> int:
    (port,) = free_ports(1)
    return port


class Stack:
    """The services around the Silver worker. `applied`: a data folder with all migrations, to copy."""

    def __init__(self, folder: Path, applied: Path, shards: int = 1, partitions: int = 2) -> None:
        self._folder, self._shards, self._partitions = folder, shards, partitions
        shutil.copytree(applied / "clickhouse", folder / "store", symlinks=True)
        self._processes = ExitStack()
        self._native, self._http = free_port(), free_port()
        self._environment: dict[str, str] = {}
        self.settings = Settings()

    def __enter__(self) -> Self:
        state = self._folder / "broker"
        topics = (f"market.crypto.trades.bronze:{self._partitions}", "market.crypto.trades.dlq:1")
        self.spawn("-m", "deploy.embedded.broker", "--state", str(state), *(a for t in topics for a in ("--topic", t)))
        wait_until(state.exists)
        brokers = state.read_text()
        self._environment = {
            "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": brokers,
            # The node knows the broker, as in the embedded stack.
            "MEDALLION_CLICKHOUSE_KAFKA_BROKERS": EMBEDDED,
            **ENVIRONMENT,
            "MEDALLION_CLICKHOUSE_HOST": "127.0.0.1",
            "MEDALLION_CLICKHOUSE_PORT": str(self._native),
            "MEDALLION_CLICKHOUSE_HTTP_PORT": str(self._http),
            "MEDALLION_BRONZE_SHARDS": str(self._shards),
        }
        self.settings = Settings(
            kafka_bootstrap_servers=brokers,
            clickhouse_kafka_brokers=EMBEDDED,
            clickhouse_host="127.0.0.1",
            clickhouse_port=self._native,
            clickhouse_http_port=self._http,
            clickhouse_password=PASSWORD,
            bronze_shards=self._shards,
        )
        self.start_node()
        apply(self.client(), self.settings)
        self.producer = Producer({"bootstrap.servers": brokers, "linger.ms": 0, "message.max.bytes": 33_554_432})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.close()

    def spawn(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = self._processes.enter_context((self._folder / f"{arguments[1]}.log").open("ab"))
        variables = {**os.environ, **self._environment, **environment}
        process = subprocess.Popen([sys.executable, *arguments], env=variables, stdout=log, stderr=log)
        self._processes.callback(_end, process)
        return process

    def start_node(self) -> None:
        ports = ("--native-port", str(self._native), "--http-port", str(self._http))
        brokers = ("--kafka-brokers", self.settings.kafka_bootstrap_servers)
        self._node = self.spawn(
            *("-m", "deploy.embedded.clickhouse", "--path", str(self._folder / "store"), *ports, *brokers, *ARGUMENTS)
        )
        wait_until(lambda: _answers(f"http://127.0.0.1:{self._http}/ping"))

    def stop_node(self) -> None:
        self._node.kill()
        self._node.wait()

    def start_worker(self) -> Worker:
        return Worker(self)

    def client(self) -> Client:
        return Client("127.0.0.1", self._native, password=PASSWORD)

    def select(self, query: str) -> list[tuple[Any, ...]]:
        client = self.client()
        try:
            return client.execute(query, settings={"max_threads": 1})
        finally:
            client.disconnect()

    def publish(self, topic: str, value: bytes, partition: int = 0) -> None:
        self.producer.produce(topic, value=value, partition=partition)
        assert self.producer.flush(30) == 0


class Worker:
    """A Silver worker process."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.port = free_port()
        self._start()

    def _start(self) -> None:
        self.process = self._stack.spawn("-m", "silver_processor", MEDALLION_METRICS_PORT=str(self.port))

    def wait_ready(self) -> None:
        """Ready; started again where the in-memory broker's SyncGroup threw the worker out, as a supervisor would."""

        def ready() -> bool:
            if self.process.poll() is not None:
                assert self.process.returncode != 0
                self._start()
            return _answers(f"http://127.0.0.1:{self.port}/readyz")

        wait_until(ready)

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
