"""Drains one sink table: its outbox, part by part, into the topic, and drops what the broker has acknowledged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine_session import EngineSession
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka.catalog import StandIn
from producers.kafka.flow_control import Pacer

_PARTS = """
SELECT name, rows FROM system.parts
WHERE database = {database:String} AND table = {name:String} AND active AND rows > 0
ORDER BY min_block_number, name
"""
_COLUMNS = "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {name:String}"
_NO_SUCH_PART = 232
_IDLE_SECONDS = 0.25
_SERVE_SECONDS = 0.005
_PARTS_TO_DROP = 16  # so many wait while there is something to send, which is more urgent
_BACKOFF_SECONDS = 0.5
_STOP_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@dataclass
class _Part:
    """A part of the outbox under way; `waiting` messages are not acknowledged yet."""

    name: str
    waiting: int = 0
    sent: bool = False
    failed: bool = False


@dataclass
class _Counters:
    rows: int = 0
    messages: int = 0
    errors: int = 0
    last_error: str = ""
    offsets: dict[str, int] = field(default_factory=dict)


class Sink:
    """The drain of one sink table.

    As the engine's sink: messages of at most `kafka_max_rows_per_message` rows of one insert's block, encoded by the
    engine's
    own Avro format, keyed by the `_key` column and stamped by the `_timestamp` column of their last row. A message
    above
    `max_message_bytes` is split further. Rows leave the outbox only after the broker acknowledged their whole part:
    killed at
    any moment, a part may be sent again but is never lost.
    """

    def __init__(
        self,
        stand_in: StandIn,
        session: EngineSession,
        config: Mapping[str, object],
        pacer: Callable[[Callable[[float], object]], Pacer],
        max_message_bytes: int,
    ) -> None:
        """Args:
        stand_in: the table; replace `stand_in` when it is renamed.
        session: for this sink alone; closed by `stop`.
        config: of the producer.
        pacer: makes the pacer, given what serves delivery callbacks.
        max_message_bytes: split messages larger than that, as far as single rows.
        """
        self.stand_in = stand_in
        self._session, self._max_bytes = session, max_message_bytes
        self._producer = Producer({**config, "error_cb": self._on_error})
        self._pacer = pacer(self._producer.poll)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._asked = self._delivered = 0
        self._lock = threading.Lock()
        self._rounds: deque[tuple[int, set[str]]] = deque()
        self._under_way: dict[str, _Part] = {}
        self._acknowledged: list[str] = []
        self._label_columns: str | None = None
        self._counters = _Counters()
        self._thread = threading.Thread(target=self._run, name=f"drain {'.'.join(stand_in.name)}", daemon=True)

    def start(self) -> None:
        """Drain what an earlier run left, then whatever is inserted."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for what is under way, drop what arrived; the rest stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        self._pacer.cancel()
        self._thread.join()
        self._pacer.close()
        self._session.close()

    def flushed(self) -> Callable[[], bool]:
        """A test that turns true once every row in the outbox now has been acknowledged by the broker."""
        with self._lock:
            self._asked += 1
            asked = self._asked
        self._wake.set()
        return lambda: self._delivered >= asked

    def status(self) -> dict[str, object]:
        """Counters of what was delivered, the last offset by topic/partition, and what is under way."""
        return {
            "role": "sink",
            "rows": self._counters.rows,
            "messages": self._counters.messages,
            "errors": self._counters.errors,
            "last_error": self._counters.last_error or self._pacer.last_error,
            "parts_under_way": len(self._under_way),
            "unconsumed_bytes": max(self._pacer.unconsumed().values(), default=0),
            "partitions": {name: {"delivered": offset} for name, offset in sorted(self._counters.offsets.items())},
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._under_way:
                self._producer.poll(_SERVE_SECONDS)
            else:
                self._wake.wait(_IDLE_SECONDS)
            self._wake.clear()
            try:
                self._send_round()
                if not self._wake.is_set() or len(self._acknowledged) >= _PARTS_TO_DROP:
                    self._drop_acknowledged()
            except (EngineError, KafkaException, BufferError) as error:
                self._failed(str(error))
                self._stopping.wait(_BACKOFF_SECONDS)
        self._producer.flush(_STOP_SECONDS)
        try:
            self._drop_acknowledged()
        except EngineError as error:
            self._failed(str(error))

    def _send_round(self) -> None:
        with self._lock:
            asked = self._asked
        listed = self._query(_PARTS)
        outstanding = {str(name) for name, _ in listed if name not in self._acknowledged}
        if self._rounds and self._rounds[-1][0] == asked:
            asked = self._rounds.pop()[0]
        self._rounds.append((asked, outstanding))
        self._settle_rounds()
        for name, rows in listed:
            if name in outstanding and name not in self._under_way and not self._send(str(name), int(rows)):
                return

    def _send(self, name: str, rows: int) -> bool:
        """Produce a part's messages; False when told to stop in the middle."""
        per_message = self.stand_in.table.number("kafka_max_rows_per_message", 1)
        ends = [min(start + per_message, rows) for start in range(0, rows, per_message)]
        labels = self._labels(name, ends)
        if labels is None:  # merged away by hand since it was listed: its rows are in another part
            return True
        part = self._under_way[name] = _Part(name)
        start = 0
        for end in ends:
            for last, data in self._encode(name, start, end):
                key, stamp = labels[end - 1] if last == end - 1 else (self._labels(name, [last + 1]) or labels)[last]
                if not self._produce(part, key, stamp, data):
                    del self._under_way[name]
                    return False
            start = end
        self._counters.rows += rows
        part.sent = True
        self._finish(part)
        return True

    def _produce(self, part: _Part, key: bytes | None, stamp: int, data: bytes) -> bool:
        size = len(data) + len(key or b"")
        if not self._pacer.acquire(size):
            return False

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            self._pacer.release(size)
            part.waiting -= 1
            if error is None:
                self._counters.messages += 1
                self._counters.offsets[f"{message.topic()}/{message.partition()}"] = message.offset()
                self._pacer.delivered(message.topic(), message.partition(), message.offset(), size)
            else:
                part.failed = True
                self._failed(error.str())
            self._finish(part)

        part.waiting += 1
        self._producer.produce(self.stand_in.table.topics[0], data, key=key, timestamp=stamp, on_delivery=on_delivery)
        return True

    def _finish(self, part: _Part) -> None:
        if part.waiting or not part.sent or self._under_way.get(part.name) is not part:
            return
        del self._under_way[part.name]
        if part.failed:
            return  # listed again in the next round
        self._acknowledged.append(part.name)
        for _, outstanding in self._rounds:
            outstanding.discard(part.name)
        self._settle_rounds()

    def _settle_rounds(self) -> None:
        while self._rounds and not self._rounds[0][1]:
            self._delivered = max(self._delivered, self._rounds.popleft()[0])

    def _encode(self, part: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(last row, message) for the rows [start, end) of a part; one, unless it is too large."""
        table = self._table()
        data = self._session.query(
            f"SELECT * FROM {table} WHERE _part = {{part:String}} AND _part_offset >= {{start:UInt64}} "  # noqa: S608
            "AND _part_offset < {end:UInt64} ORDER BY _part_offset",
            "Avro",
            {"output_format_avro_rows_in_file": "1", **self.stand_in.table.format_settings, "max_threads": "1"},
            {"part": part, "start": str(start), "end": str(end)},
        )
        if len(data) <= self._max_bytes or end - start == 1:
            yield end - 1, data
            return
        middle = (start + end) // 2
        yield from self._encode(part, start, middle)
        yield from self._encode(part, middle, end)

    def _labels(self, part: str, ends: list[int]) -> dict[int, tuple[bytes | None, int]] | None:
        """Key and timestamp (ms, 0 is now) of the rows before `ends`; None if the part is gone."""
        if self._label_columns is None:
            types = {str(name): str(kind) for name, kind in self._query(_COLUMNS)}
            # As the engine: of other types than these they are ordinary columns.
            key = "hex(_key)" if types.get("_key") == "String" else "NULL"
            stamp = "toUnixTimestamp(_timestamp) * 1000" if types.get("_timestamp", "").startswith("DateTime") else "0"
            self._label_columns = f"{key}, {stamp}"
        answer = self._session.query(
            f"SELECT _part_offset, {self._label_columns} FROM {self._table()} "  # noqa: S608
            "WHERE _part = {part:String} AND _part_offset IN {rows:Array(UInt64)}",
            "JSONCompactEachRow",
            {"output_format_json_quote_64bit_integers": "0"},
            {"part": part, "rows": str([end - 1 for end in ends])},
        )
        found = [orjson.loads(line) for line in answer.splitlines()]
        if len(found) != len(ends):
            return None
        return {row: (None if given is None else bytes.fromhex(given), at) for row, given, at in found}

    def _drop_acknowledged(self) -> None:
        """All in one statement; one by one where a part was merged away by hand, which refuses the whole."""
        if not self._acknowledged:
            return
        try:
            self._drop(self._acknowledged)
        except EngineError as error:
            if error.code != _NO_SUCH_PART:
                raise
            for name in self._acknowledged:
                with suppress(EngineError):  # what is left is listed, and sent, again
                    self._drop([name])
        self._acknowledged.clear()

    def _drop(self, names: list[str]) -> None:
        parts = ", ".join(f"DROP PART {quote_string(name)}" for name in names)
        self._session.execute(f"ALTER TABLE {self._table()} {parts}")

    def _query(self, sql: str) -> list[list[Any]]:
        database, name = self.stand_in.name
        answer = self._session.query(
            sql,
            "JSONCompactEachRow",
            {"output_format_json_quote_64bit_integers": "0"},
            {"database": database, "name": name},
        )
        return [orjson.loads(line) for line in answer.splitlines()]

    def _table(self) -> str:
        return ".".join(quote_name(part) for part in self.stand_in.name)

    def _failed(self, error: str) -> None:
        self._counters.errors += 1
        self._counters.last_error = error
        _log.warning("sink", table=self.stand_in.name, error=error)

    def _on_error(self, error: KafkaError) -> None:
        self._failed(error.str())
