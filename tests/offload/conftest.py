"""A ClickHouse node of its own process for the offload's tests, a fresh database and warehouse for each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import urllib3
from confluent_kafka import Producer
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from config.settings import Settings
from deploy.embedded.ports import free_ports
from offload.tables.catalog import ColdTier
from tests.clickhouse import ARGUMENTS, ENVIRONMENT, PASSWORD
from tests.offload.cold_tables import forget_catalog
from tests.offload.hot_tables import WAREHOUSES, HotTables, database_name, give_back_unused
from tests.recorded import OURS

_PROGRAM = ("-m", "deploy.embedded.clickhouse")


def _free_port() -> int:
    (port,) = free_ports(1)
    return port


@retry(
    retry=retry_if_exception_type(urllib3.exceptions.HTTPError),
    stop=stop_after_delay(60),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _wait_for(port: int) -> None:
    urllib3.request("GET", f"http://127.0.0.1:{port}/ping", retries=False, timeout=2)


class Node:
    """A ClickHouse node with its store in `folder`, allowed to read all that tests write; `environment` is added.

    `program`: what Python runs in the node's place, with the node's arguments.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, program: Sequence[str] = _PROGRAM
    ) -> None:
        self._folder, self._environment = folder, {**os.environ, **(environment or {}), **ENVIRONMENT}
        self._program = program
        folder.mkdir(parents=True, exist_ok=True)
        self.native_port, self.http_port = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or again, on the same ports; returns when it answers."""
        command = [sys.executable, *self._program, "--path", str(self._folder / "store")]
        command += ["--native-port", str(self.native_port), "--http-port", str(self.http_port), *ARGUMENTS]
        # Tests keep their warehouses and files beside the node's folder; buckets are on servers of this machine.
        command += ["--readable", str(self._folder.parent), "--readable", "http://127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        _wait_for(self.http_port)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def running_node(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A ClickHouse node while the context lasts."""
    node = Node(folder, environment)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@contextmanager
def clickhouse_node(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """The same by its HTTP port."""
    with running_node(folder, environment) as node:
        yield node.http_port


def new_settings(http_port: int, folder: Path, database: str = "") -> Settings:
    """Settings of a database that is empty or does not exist yet, and of a warehouse that does not exist yet."""
    return Settings(
        clickhouse_host="127.0.0.1",
        clickhouse_http_port=http_port,
        clickhouse_password=PASSWORD,
        clickhouse_database=database or database_name(http_port),
        iceberg_catalog_uri=f"sqlite:///{folder}/catalog.db",
        iceberg_warehouse=(folder / "warehouse").as_uri(),
    )


@pytest.fixture(scope="session")
def warehouses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the warehouses of `settings`."""
    return tmp_path_factory.mktemp(WAREHOUSES)


@pytest.fixture
def settings(http_port: int, warehouses: Path) -> Iterator[Settings]:
    """Settings of an empty database, and of a warehouse of empty tables, which goes with the database.

    To make its tables and the views that read them costs more than a small run, so each test gets a copy of the empty
    ones in their place.
    """
    database = database_name(http_port)
    folder, empty = warehouses / f"{http_port}_{database}", warehouses / f"{http_port}_{database}.empty"
    found = new_settings(http_port, folder, database)
    if empty.exists():
        shutil.rmtree(folder)
        shutil.copytree(empty, folder)
        forget_catalog()
    else:
        ColdTier.open(found)
        shutil.copytree(folder, empty)
    yield found
    give_back_unused(found)


@pytest.fixture
def hot(settings: Settings, tmp_path: Path) -> Iterator[HotTables]:
    """The hot tables of `settings`, created by the real migrations and empty."""
    tables = HotTables(settings)
    yield tables
    tables.give_back()


@pytest.fixture(scope="session")
def brokers() -> Iterator[str]:
    """An in-memory broker with the topic of the dead letters."""
    cluster = Producer({"test.mock.num.brokers": 1})
    metadata = cluster.list_topics("market.crypto.trades.dlq", timeout=30)
    yield ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
    cluster.flush(0)


@pytest.fixture(scope="session")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15,863 real trades of two symbols, across midnight, by time, symbol and id."""
    path = tmp_path_factory.mktemp("tape") / "trades.csv"
    order = [pl.col("trade_time_ns").cast(pl.Int64), pl.col("symbol"), pl.col("trade_id").cast(pl.Int64)]
    OURS["binance_spot_trades"].trades().sort(order).write_csv(path)
    return path
