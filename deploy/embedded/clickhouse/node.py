"""Builds the node from its parts: the engine, both interfaces and the Kafka tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.endpoint import NO_SINKS, Endpoint
from deploy.embedded.clickhouse.engine import config
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.errors import UNKNOWN_DATABASE, EngineError, NodeStartError
from deploy.embedded.clickhouse.http.server import HttpServer
from deploy.embedded.clickhouse.native.server import NativeServer
from deploy.embedded.clickhouse.refresher import Refresher
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.sql.policy import Policy, Role
from deploy.embedded.clickhouse.sql.statements import StatementHook

if TYPE_CHECKING:
    from deploy.embedded.clickhouse.kafka import KafkaTables


@dataclass(frozen=True)
class Options:
    """How to run a node.

    Attributes:
        grace_s: how long running queries may go on during a stop, seconds.
        readable: folders and URLs of buckets that clients' SQL may read.
        analyst_tables: tables that the analyst may read, each `database.table`.
        listed_tables: which of them SHOW TABLES lists. If it names none of a database, all of them are listed.
        landing_database: the current database of a client that names none; "" for `default`.
        kafka_brokers: `host:port,…`; "" for a node without Kafka tables.
        kafka_security: librdkafka's properties for authentication and TLS.
        kafka_flow_control_group: the consumer group that sinks wait for; "" for none.
        kafka_max_unconsumed_bytes: how far a partition may be ahead of what that group has committed; 0: no limit.
    """

    path: Path
    host: str
    native_port: int
    http_port: int
    access: Access = field(default_factory=Access)
    limits: config.Limits = field(default_factory=config.Limits)
    grace_s: float = 10.0
    readable: Sequence[str] = ()
    analyst_tables: Sequence[str] = ()
    listed_tables: Sequence[str] = ()
    landing_database: str = ""
    kafka_brokers: str = ""
    kafka_security: Mapping[str, object] = field(default_factory=dict, repr=False)
    kafka_flow_control_group: str = ""
    kafka_max_unconsumed_bytes: int = 0


class Node:
    """A running node."""

    def __init__(self, options: Options) -> None:
        """Open the data folder.

        Raises:
            NodeStartError: the folder cannot be written, or another process uses it.
        """
        self._options = options
        path = options.path.resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._endpoint = Endpoint() if options.kafka_brokers else None
            sinks = self._endpoint.address if self._endpoint else NO_SINKS
            shown = (options.analyst_tables, options.listed_tables)
            config_file = config.write(path / "node-config.xml", options.limits, *shown, sinks)
        except OSError as error:
            reason = f"cannot write to the data folder {path}: {error.strerror}. Name one you may write."
            raise NodeStartError(reason) from error
        self._engine = Engine.open(path / "engine", config=config_file)
        self._engine.share(options.analyst_tables)
        self._policy = _policy(options)
        self._kafka = _kafka(self._engine, self._endpoint, options)
        self._refresher = Refresher(self._engine)
        self._hooks: Sequence[StatementHook] = [*([self._kafka] if self._kafka else []), self._refresher]
        self._native: NativeServer | None = None
        status, fault = (self._kafka.status, self._kafka.fault) if self._kafka else (None, str)
        self._http = HttpServer(options.access, self._open_session, status, fault)

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
        self._refresher.start()
        self._native.start()

    async def stop(self) -> None:
        """Wait for running queries, kill those that outlast the grace, then close the engine."""
        native = self._native
        stopping = [self._http.stop()]
        if native is not None:
            stopping.append(asyncio.to_thread(native.stop, self._options.grace_s))
        await asyncio.gather(*stopping)
        if self._kafka is not None:
            await asyncio.to_thread(self._kafka.stop)
        await asyncio.to_thread(self._refresher.stop)
        self._engine.close()

    def _open_session(self, database: str, role: Role) -> Session:
        landing = self._options.landing_database
        if not database and landing:
            try:
                return Session(self._engine, self._hooks, landing, role, self._policy, landing)
            except EngineError as error:
                if error.code != UNKNOWN_DATABASE:  # the first migration creates the database
                    raise
        session = Session(self._engine, self._hooks, database, role, self._policy, landing)
        # Without the landing database the session is in `default`, and is not given to a later client.
        session.is_pristine = bool(database) or not landing
        return session


def _policy(options: Options) -> Policy:
    buckets = tuple(place for place in options.readable if "://" in place)
    folders = tuple(Path(place).resolve() for place in options.readable if "://" not in place)
    if any(folder == Path("/") for folder in folders):
        raise NodeStartError("--readable / would let SQL read every file of this machine: name the folder it needs")
    return Policy(folders, buckets, has_kafka=bool(options.kafka_brokers))


def _kafka(engine: Engine, endpoint: Endpoint | None, options: Options) -> KafkaTables | None:
    if endpoint is None:
        return None
    from deploy.embedded.clickhouse.kafka import KafkaTables  # noqa: PLC0415 - Arrow and Kafka clients are 50 MB

    return KafkaTables(
        engine,
        endpoint,
        brokers=options.kafka_brokers,
        security=options.kafka_security,
        flow_control_group=options.kafka_flow_control_group or None,
        max_unconsumed_bytes=options.kafka_max_unconsumed_bytes,
    )
