"""Runs the ADR's objects and processor on a broker and a node as `medallion up` starts them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clickhouse_driver import Client
from jinja2 import Environment, StrictUndefined

from bench.load import SOURCES
from bench.stack import Target, native_client
from config.connections import clickhouse_native
from config.settings import Settings
from ddl.quoting import quote_name, quote_string
from ddl.statements import split
from deploy.embedded.layout import DataDir
from deploy.embedded.ports import free_ports
from deploy.embedded.services import Ports, Service, broker_service, clickhouse_service, stack_environment

_SQL = Path(__file__).with_name("sql")
_START_S = 120.0
_STOP_S = 20.0
_POLL_S = 0.05


class AdrError(RuntimeError):
    """A process of the ADR's pipeline did not start. The message names its log."""


@contextmanager
def adr_target() -> Iterator[Target]:
    """Start an in-memory broker, a node with the ADR's objects, and its processor.

    Raises:
        AdrError: a process does not start.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("MEDALLION_")}
    with tempfile.TemporaryDirectory(prefix="medallion-adr-", ignore_cleanup_errors=True) as name, ExitStack() as end:
        folder = DataDir(Path(name) / "data")
        folder.create()
        native, http = free_ports(2)
        ports = Ports(native, http, ())
        broker = _start(end, folder, broker_service(folder.broker_state, given))
        servers = folder.broker_state.read_text(encoding="utf-8").strip()
        environment = stack_environment(folder, ports, "memory", servers, given)
        node = _start(end, folder, clickhouse_service(folder, ports, environment))
        settings = Settings.from_environment(environment)
        _create(settings)
        processor = _spawn(end, folder, "processor", (sys.executable, "-m", "bench.adr.processor"), environment)
        pids = {"broker": broker.pid, "clickhouse": node.pid, "processor": processor.pid}
        yield Target(
            environment,
            pids,
            folder.logs,
            look=_text("visible.sql"),
            counted="gold_ohlcv_1m_mv",
            partitions="",
            journeys=_text("journeys.sql"),
        )


def _create(settings: Settings) -> None:
    client = Client(**clickhouse_native(settings))
    client.execute(f"CREATE DATABASE {quote_name(settings.clickhouse_database)}")
    client.disconnect()
    # Without autoescape: the output is SQL, not HTML.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["literal"] = quote_string
    text = environment.from_string(_text("objects.sql")).render(
        raw_topics=[settings.raw_topic(source.exchange) for source in SOURCES],
        raw_consumer_group=settings.raw_consumer_group,
        bronze_topic=settings.bronze_topic,
        bronze_rows_per_message=settings.bronze_rows_per_message,
        kafka_flush_interval_ms=settings.kafka_flush_interval_ms,
    )
    client = native_client(settings)
    for statement in split("objects", text):
        client.execute(statement.sql)
    client.disconnect()


def _start(end: ExitStack, folder: DataDir, service: Service) -> subprocess.Popen[bytes]:
    process = _spawn(end, folder, service.name, service.argv, service.environment)
    deadline = time.monotonic() + _START_S
    while reason := asyncio.run(_unready(service)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AdrError(f"{service.name} did not start: {reason}; see {folder.logs / service.name}.log")
        time.sleep(_POLL_S)
    return process


async def _unready(service: Service) -> str:
    return await service.unready()


def _spawn(
    end: ExitStack, folder: DataDir, name: str, argv: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    log = end.enter_context((folder.logs / f"{name}.log").open("ab"))
    process = subprocess.Popen(argv, env={**os.environ, **environment}, stdout=log, stderr=log)
    end.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _text(name: str) -> str:
    return (_SQL / name).read_text(encoding="utf-8")
