"""Stands in for the Kafka table engine: creates the stand-in tables, feeds the sources, drains the sinks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from deploy.embedded.clickhouse.engine import Engine
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka.catalog import Catalog, StandIn, read_catalog
from deploy.embedded.clickhouse.kafka.clients import consumer_config, producer_config
from deploy.embedded.clickhouse.kafka.definition import KafkaTable, Role, check, parse_kafka_table
from deploy.embedded.clickhouse.kafka.gate import Gate
from deploy.embedded.clickhouse.kafka.sink import Sink
from deploy.embedded.clickhouse.kafka.source import Source
from deploy.embedded.clickhouse.tokens import Token, scan
from producers.kafka.flow_control import Pacer

# What changes the catalog comes through this node's sessions, which say so; the rest is a net below that.
_REFRESH_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_CHANGING = frozenset({"CREATE", "ALTER", "REPLACE", "UNDROP"})
_DROP_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class KafkaTables:
    """Every Kafka-engine table of one engine.

    A table of format RawBLOB reads its topics (a source), one of format Avro writes its topic (a sink). The original
    CREATE
    statement is the stand-in's COMMENT (`system.tables.comment`): the engine keeps it, renames and drops it with the
    table,
    and a node that starts again finds all its Kafka tables there.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        brokers: str | None = None,
        security: Mapping[str, object] | None = None,
        pace_group: str | None = None,
        max_unconsumed_bytes: int = 0,
        max_message_bytes: int = 4_000_000,
    ) -> None:
        """Args:
        engine: the engine, open.
        brokers: `host:port,…` used instead of every table's `kafka_broker_list`.
        security: librdkafka's properties for authentication and TLS, as a server's `<kafka>` section; a table's own
            settings win.
        pace_group: the consumer group of the sinks' topics; with `max_unconsumed_bytes`, no partition gets more bytes
            than
            that beyond what the group has committed. The outbox keeps the rest.
        max_unconsumed_bytes: see `pace_group`; 0 is no bound.
        max_message_bytes: sink messages larger than that are split.
        """
        self._engine, self._brokers, self._security = engine, brokers, dict(security or {})
        self._pace_group, self._max_unconsumed, self._max_message = pace_group, max_unconsumed_bytes, max_message_bytes
        self._session = engine.session()
        self._gate = Gate()
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._started = False
        self._workers: dict[str, Source | Sink] = {}
        self._catalog = Catalog({}, frozenset(), {})
        self._thread = threading.Thread(target=self._watch, name="kafka tables", daemon=True)

    def start(self) -> None:
        """Take up all Kafka tables that the engine knows, and watch for more.

        Raises:
            EngineError: the catalog cannot be read.
        """
        self._started = True
        self._refresh()
        self._thread.start()

    def stop(self) -> None:
        """Insert what was consumed, deliver what is under way, commit, and leave the broker."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._refreshing:
            # Sources first: their last commits wait for the sinks.
            for role in (Source, Sink):
                for uuid in [uuid for uuid, worker in self._workers.items() if isinstance(worker, role)]:
                    self._workers.pop(uuid).stop()
        self._session.close()

    def handle(self, sql: str, database: str, execute: Callable[[str], None]) -> bool:
        """Run a statement that creates a Kafka table, or changes which tables there are; False for any other.

        While it runs no block flows, so that a view is there for a block or not, never for part of it. What a sink
        still
        holds is delivered before it is dropped, if the broker takes it within seconds. `SHOW CREATE TABLE` of a
        stand-in is left to the
        engine: it shows the stand-in, with the original statement as its COMMENT.

        Raises:
            EngineError: the statement was refused, by us or by the engine.
        """
        table = parse_kafka_table(sql)
        if table is not None:
            check(table, self._engine.setting_names())
            self._change(table.stand_in(), execute)
            return True
        tokens = list(scan(sql))
        if not tokens or tokens[0].upper not in {"DROP", "DETACH", "ATTACH", "RENAME", "EXCHANGE"}:
            return False
        if tokens[0].upper == "DROP":
            self._flush(_named(tokens, database))
        self._change(sql, execute)
        return True

    def after(self, words: Sequence[str]) -> None:
        """A statement that begins with these keywords ran: look at the tables again if it may have changed them."""
        if words and words[0] in _CHANGING:
            self._changed.set()

    def status(self) -> dict[str, dict[str, object]]:
        """By `database.table`: role, original statement, counters, last error, partitions; outbox rows of a sink.

        Raises:
            EngineError: the engine failed.
        """
        with self._refreshing:
            workers = list(self._workers.values())
        rows = {
            (database, name): int(total)
            for database, name, total in (
                line.split("\t")
                for line in self._session.query(
                    "SELECT database, table, sum(rows) FROM system.parts WHERE active GROUP BY database, table"
                )
                .decode()
                .splitlines()
            )
        }
        return {
            ".".join(worker.stand_in.name): {
                **worker.status(),
                "statement": worker.stand_in.table.statement,
                **({"outbox_rows": rows.get(worker.stand_in.name, 0)} if isinstance(worker, Sink) else {}),
            }
            for worker in workers
        }

    def _change(self, sql: str, execute: Callable[[str], None]) -> None:
        with self._gate.closed():
            execute(sql)
            self._read()
        self._refresh()

    def _flush(self, name: tuple[str, str | None]) -> None:
        with self._refreshing:
            sinks = [worker for worker in self._workers.values() if isinstance(worker, Sink)]
        named = [sink for sink in sinks if name in {sink.stand_in.name, (sink.stand_in.name[0], None)}]
        tests = [sink.flushed() for sink in named]
        deadline = time.monotonic() + _DROP_SECONDS
        while not all(is_flushed() for is_flushed in tests):
            if time.monotonic() > deadline:
                _log.error("sink dropped with rows that were not delivered", table=name)
                return
            self._stopping.wait(0.01)

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
        """Bring the workers in line with the tables that there are."""
        with self._refreshing:
            self._read()
            if not self._started or self._stopping.is_set():
                return
            for uuid in self._workers.keys() - self._catalog.stand_ins.keys():
                self._workers.pop(uuid).stop()
            for uuid, stand_in in self._catalog.stand_ins.items():
                if uuid in self._workers:
                    self._workers[uuid].stand_in = stand_in
                else:
                    self._workers[uuid] = self._worker(stand_in)
                    self._workers[uuid].start()

    def _worker(self, stand_in: StandIn) -> Source | Sink:
        table: KafkaTable = stand_in.table
        session = self._engine.session()
        brokers = self._brokers or table.settings["kafka_broker_list"]
        if table.role is Role.SINK:
            bound = self._max_unconsumed if self._pace_group else 0
            client = {"bootstrap.servers": brokers, **self._security}
            return Sink(
                stand_in,
                session,
                {**self._security, **producer_config(table.settings, brokers)},
                lambda serve: Pacer(client, self._pace_group or "", bound, serve=serve),
                self._max_message,
            )
        uuid = stand_in.uuid
        return Source(
            stand_in,
            session,
            {**self._security, **consumer_config(table.settings, brokers, uuid)},
            self._gate,
            lambda: uuid in self._catalog.fed,
            lambda: self._delivery(uuid),
        )

    def _delivery(self, source: str) -> list[Callable[[], bool]]:
        sinks = [self._workers.get(uuid) for uuid in self._catalog.sinks.get(source, ())]
        return [sink.flushed() for sink in sinks if isinstance(sink, Sink)]


def _named(tokens: list[Token], database: str) -> tuple[str, str | None]:
    """(database, table) that a DROP names; (database, None) for DROP DATABASE."""
    words = {"DROP", "TABLE", "DATABASE", "VIEW", "TEMPORARY", "DICTIONARY", "IF", "EXISTS", "EMPTY"}
    index = next((i for i, token in enumerate(tokens) if token.upper not in words), len(tokens) - 1)
    first = tokens[index].text.strip('`"')
    if tokens[1].upper == "DATABASE":
        return first, None
    qualified = index + 2 < len(tokens) and tokens[index + 1].text == "."
    return (first, tokens[index + 2].text.strip('`"')) if qualified else (database, first)
