"""The node put together: engine, both interfaces, Kafka tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from deploy.embedded.clickhouse import config
from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.engine import Engine
from deploy.embedded.clickhouse.errors import NodeStartError
from deploy.embedded.clickhouse.http.server import HttpServer
from deploy.embedded.clickhouse.native.server import NativeServer
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.statements import StatementHook

_KAFKA_PACKAGE = "deploy.embedded.clickhouse.kafka"


class Kafka(StatementHook, Protocol):
    """What stands in for Kafka tables."""

    def start(self) -> None:
        """Begin to consume and produce."""

    def stop(self) -> None:
        """Stop, with nothing acknowledged lost."""

    def status(self) -> Mapping[str, Any]:
        """The state of every table, ready for JSON."""


@dataclass(frozen=True)
class Options:
    """How to run a node; `kafka_brokers` "" means no Kafka tables."""

    path: Path
    host: str
    native_port: int
    http_port: int
    access: Access = field(default_factory=Access)
    limits: config.Limits = field(default_factory=config.Limits)
    grace_s: float = 10.0
    kafka_brokers: str = ""


class Node:
    """A running node."""

    def __init__(self, options: Options) -> None:
        """Open the data folder.

        Raises:
            NodeStartError: it cannot be written, or another process uses it.
        """
        self._options = options
        path = options.path.resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
            config_file = config.write(path / "node-config.xml", options.limits)
        except OSError as error:
            reason = f"cannot write to the data folder {path}: {error.strerror}. Name one you may write."
            raise NodeStartError(reason) from error
        self._engine = Engine.open(path / "engine", config=config_file)
        self._kafka = _kafka(self._engine, path / "kafka", options.kafka_brokers)
        self._hooks: Sequence[StatementHook] = [self._kafka] if self._kafka else []
        self._native: NativeServer | None = None
        self._http = HttpServer(options.access, self._open_session, self._kafka.status if self._kafka else None)

    @property
    def native_port(self) -> int:
        """The native port in use."""
        return self._native.port if self._native else self._options.native_port

    async def start(self) -> None:
        """Bind both ports and accept clients.

        Raises:
            NodeStartError: a port is taken or not permitted.
        """
        options = self._options
        try:
            self._native = NativeServer(
                self._engine, options.access, self._open_session, options.host, options.native_port
            )
            await self._http.start(options.host, options.http_port, options.grace_s)
        except NodeStartError:
            await self.stop()
            raise
        if self._kafka is not None:
            await asyncio.to_thread(self._kafka.start)
        self._native.start()

    async def stop(self) -> None:
        """Let running queries end or kill them, then close the engine."""
        native = self._native
        stopping = [self._http.stop()]
        if native is not None:
            stopping.append(asyncio.to_thread(native.stop, self._options.grace_s))
        await asyncio.gather(*stopping)
        if self._kafka is not None:
            await asyncio.to_thread(self._kafka.stop)
        self._engine.close()

    def _open_session(self, database: str) -> Session:
        return Session(self._engine, self._hooks, database)


def _kafka(engine: Engine, state_dir: Path, brokers: str) -> Kafka | None:
    if not brokers:
        return None
    tables: Kafka = import_module(_KAFKA_PACKAGE).KafkaTables(engine, state_dir, brokers)
    return tables
