"""Replaces the Kafka table engine: creates stand-in tables, feeds the sources, publishes the sinks' rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import orjson
import structlog

from deploy.embedded.clickhouse.endpoint import Endpoint, SinkRefusedError
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka import outbox
from deploy.embedded.clickhouse.kafka.catalog import Catalog, StandIn, read_catalog
from deploy.embedded.clickhouse.kafka.clients import consumer_config, producer_config
from deploy.embedded.clickhouse.kafka.definition import KafkaTable, KafkaTableRole, check, parse_kafka_table
from deploy.embedded.clickhouse.kafka.gate import Gate
from deploy.embedded.clickhouse.kafka.offsets import UnderWay
from deploy.embedded.clickhouse.kafka.sink import KafkaSink
from deploy.embedded.clickhouse.kafka.source import KafkaSource
from deploy.embedded.clickhouse.sql.tokens import scan
from producers.kafka.flow_control import FlowControl

# The catalog is read again at this interval, even if no session of the node has reported a change.
_REFRESH_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_CHANGING = frozenset({"CREATE", "ALTER", "REPLACE", "UNDROP"})
_STOP_SECONDS = 5.0
_COLUMNS = "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {name:String}"
_UNDER_WAY_FOLDER = "kafka_blocks"
_log = structlog.get_logger(__name__)


class KafkaTables:
    """All Kafka tables of one engine.

    A table of format RawBLOB reads its topics (a source). A table of format Avro writes its topic (a sink). The
    stand-in's COMMENT (`system.tables.comment`) is the original CREATE statement. The engine keeps it with the table,
    and a node finds its Kafka tables there when it starts again.
    """

    def __init__(
        self,
        engine: Engine,
        endpoint: Endpoint,
        *,
        brokers: str | None = None,
        security: Mapping[str, object] | None = None,
        flow_control_group: str | None = None,
        max_unconsumed_bytes: int = 0,
        max_message_bytes: int = 4_000_000,
    ) -> None:
        """Args:
        engine: the open engine. Its configuration has the endpoint's address.
        endpoint: the engine posts inserts into sinks to it. `stop` closes it.
        brokers: `host:port,…`, used instead of every table's `kafka_broker_list`.
        security: librdkafka's properties for authentication and TLS, as in a server's `<kafka>` section. A table's own
            settings win.
        flow_control_group: the consumer group that sinks wait for.
        max_unconsumed_bytes: how far a partition may be ahead of what `flow_control_group` has committed; 0: no limit.
            Inserts wait until there is room.
        max_message_bytes: a larger message of a sink is split.
        """
        self._engine, self._endpoint = engine, endpoint
        self._brokers, self._security = brokers, dict(security or {})
        self._flow_control_group = flow_control_group
        self._max_unconsumed, self._max_message = max_unconsumed_bytes, max_message_bytes
        self._session = engine.session()
        self._publishing = engine.session()
        self._gate = Gate()
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._started = False
        self._workers: dict[str, KafkaSource | KafkaSink] = {}
        self._catalog = Catalog({}, frozenset())
        self._thread = threading.Thread(target=self._watch, name="kafka tables", daemon=True)
        self._emptying = threading.Thread(target=self._empty_outboxes, name="kafka outboxes", daemon=True)

    def start(self) -> None:
        """Serve all Kafka tables that the engine has, and watch for new ones.

        Raises:
            EngineError: the catalog cannot be read.
        """
        self._read()
        for one in self._catalog.outboxes:
            outbox.put_aside(self._session, one)
        self._started = True
        self._endpoint.start(self._publish)
        self._refresh()
        self._thread.start()
        if self._catalog.outboxes:
            self._emptying.start()

    def stop(self) -> None:
        """Insert the consumed messages, wait a few seconds for the broker to take them, commit, and disconnect."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._refreshing:
            refusing = threading.Timer(_STOP_SECONDS, self._refuse)
            refusing.start()
            # Sources first: their last blocks go through the sinks.
            for role in (KafkaSource, KafkaSink):
                for uuid in [uuid for uuid, worker in self._workers.items() if isinstance(worker, role)]:
                    self._workers.pop(uuid).stop()
            refusing.cancel()
        if self._emptying.is_alive():
            self._emptying.join()
        self._endpoint.close()
        self._publishing.close()
        self._session.close()

    def handle(self, sql: str, database: str, execute: Callable[[str], None]) -> bool:
        """Run a statement that creates a Kafka table, or drops or renames any table. False for other statements.

        No block passes while it runs, so a view sees all of a block or nothing. A block that waits for the broker is
        refused, and inserted again afterwards. `SHOW CREATE TABLE` is left to the engine, which shows the stand-in with
        the original statement as its COMMENT.

        Raises:
            EngineError: the node or the engine refused the statement.
        """
        table = parse_kafka_table(sql)
        if table is not None:
            check(table, self._engine.setting_names())
            self._change(lambda: self._create(table, database))
            return True
        first = next(scan(sql), None)
        if first is None or first.upper not in {"DROP", "DETACH", "ATTACH", "RENAME", "EXCHANGE"}:
            return False
        self._change(lambda: execute(sql))
        return True

    def after(self, words: Sequence[str], database: str) -> None:
        """Called after a statement that begins with these keywords. Read the catalog again if it may have changed."""
        del database
        if words and words[0] in _CHANGING:
            self._changed.set()

    def fault(self) -> str:
        """Which tables no longer read because a thread has ended, and what to do; "" if all work."""
        if not self._started or self._stopping.is_set():
            return ""
        ended = [worker for worker in list(self._workers.values()) if not worker.is_running]
        names = ", ".join(sorted(".".join(worker.stand_in.name) for worker in ended))
        if not names and self._thread.ident is not None and not self._thread.is_alive():
            names = "new tables"
        return f"Kafka: {names} stopped after a fault that the log has. Start the node again." if names else ""

    def status(self) -> dict[str, dict[str, object]]:
        """Role, original statement, counters, last error and partitions of each table, by `database.table`."""
        with self._refreshing:
            workers = list(self._workers.values())
        return {
            ".".join(worker.stand_in.name): {**worker.status(), "statement": worker.stand_in.table.statement}
            for worker in workers
        }

    def _create(self, table: KafkaTable, database: str) -> None:
        """Create a stand-in in a session of the node: no client may use the engine URL of a sink."""
        with self._engine.session(database) as session:
            session.execute("SET ROLE operator, publisher")
            session.execute(table.stand_in())

    def _change(self, execute: Callable[[], None]) -> None:
        with self._nothing_flowing():
            execute()
            self._read()
        self._refresh()

    @contextmanager
    def _nothing_flowing(self) -> Iterator[None]:
        with self._gate.closed(self._refuse):
            try:
                yield
            finally:
                for sink in self._sinks():
                    sink.accept()

    def _sinks(self) -> list[KafkaSink]:
        return [worker for worker in list(self._workers.values()) if isinstance(worker, KafkaSink)]

    def _refuse(self) -> None:
        for sink in self._sinks():
            sink.refuse()

    def _publish(self, uuid: str, container: bytes) -> None:
        """Publish the rows that the engine posted.

        Raises:
            SinkRefusedError: they were not delivered.
        """
        sink = self._workers.get(uuid)
        if not isinstance(sink, KafkaSink):
            raise SinkRefusedError("the node does not serve this table (yet)")
        sink.publish(container)

    def _empty_outboxes(self) -> None:
        while not self._stopping.is_set():
            try:
                outboxes = read_catalog(self._publishing).outboxes
                for one in outboxes:
                    outbox.publish(self._publishing, one)
                    _log.info("rows of an earlier version's outbox published", table=one.name)
            except EngineError as error:
                _log.warning("outbox not published, trying again", error=error.message)
                self._stopping.wait(_RETRY_SECONDS)
                continue
            return

    def _watch(self) -> None:
        wait = _REFRESH_SECONDS
        while True:
            self._changed.wait(wait)
            if self._stopping.is_set():
                return
            self._changed.clear()
            try:
                self._refresh()
                wait = _REFRESH_SECONDS
            except EngineError as error:
                _log.warning("catalog not read, trying again", error=error.message)
                wait = _RETRY_SECONDS

    def _read(self) -> None:
        self._catalog = read_catalog(self._session)

    def _refresh(self) -> None:
        """Start and stop workers, so that each Kafka table has one."""
        with self._refreshing:
            self._read()
            if not self._started or self._stopping.is_set():
                return
            for uuid in self._workers.keys() - self._catalog.stand_ins.keys():
                gone = self._workers.pop(uuid)
                gone.stop()
                if isinstance(gone, KafkaSource):
                    gone.forget()
            # Sinks first: what a source inserts reaches them.
            for uuid, stand_in in sorted(self._catalog.stand_ins.items(), key=lambda item: item[1].table.role.value):
                if uuid in self._workers:
                    self._workers[uuid].stand_in = stand_in
                    continue
                worker = self._workers[uuid] = self._worker(stand_in)
                if isinstance(worker, KafkaSource):
                    worker.start()

    def _worker(self, stand_in: StandIn) -> KafkaSource | KafkaSink:
        table: KafkaTable = stand_in.table
        brokers = self._brokers or table.settings["kafka_broker_list"]
        if table.role is KafkaTableRole.SINK:
            bound = self._max_unconsumed if self._flow_control_group else 0
            client = {"bootstrap.servers": brokers, **self._security}
            return KafkaSink(
                stand_in,
                {**self._security, **producer_config(table.settings, brokers)},
                self._columns(stand_in),
                lambda serve: FlowControl(client, self._flow_control_group or "", bound, serve=serve),
                self._max_message,
            )
        uuid = stand_in.uuid
        return KafkaSource(
            stand_in,
            self._engine.session(),
            {**self._security, **consumer_config(table.settings, brokers, table.flush_ms, uuid)},
            self._gate,
            lambda: uuid in self._catalog.fed,
            UnderWay(self._engine.path / _UNDER_WAY_FOLDER / f"{uuid}.json"),
        )

    def _columns(self, stand_in: StandIn) -> dict[str, str]:
        database, name = stand_in.name
        listed = self._session.query(_COLUMNS, "JSONCompactEachRow", params={"database": database, "name": name})
        return dict(orjson.loads(line) for line in listed.splitlines())
