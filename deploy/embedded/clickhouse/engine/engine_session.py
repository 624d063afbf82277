"""A session of the engine: one connection, one query at a time."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Self

import orjson

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine.chdb_connection import STREAM_REFUSED, Connection, Progress
from deploy.embedded.clickhouse.engine.pipes import PipeReader, PipeWriter
from deploy.embedded.clickhouse.engine.query_settings import QuerySettings
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.sql import query_ids
from deploy.embedded.clickhouse.sql.query_ids import SESSION_SETTING
from deploy.embedded.clickhouse.sql.statements import Kind, Statement, parse
from deploy.embedded.clickhouse.sql.tokens import scan

_COMPUTED = frozenset({"MATERIALIZED", "ALIAS"})


class EngineSession:
    """One engine connection. It runs one query at a time; any thread may call `kill`.

    It checks nothing. The `Policy` has to admit clients' statements before.
    """

    def __init__(self, connection: Connection, kill: Callable[[str], bool]) -> None:
        self._connection = connection
        self._kill = kill
        self._lock = threading.Lock()  # not re-entrant: a stream may be read from several threads in turn
        self._id = uuid.uuid4().hex
        self._settings = QuerySettings(connection, {SESSION_SETTING: self._id})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tag(self, query_id: str) -> dict[str, str]:
        """The setting that marks a query with the id that its client gave; none if `query_id` is ""."""
        return {SESSION_SETTING: query_ids.tag(self._id, query_id)} if query_id else {}

    @property
    def own_settings(self) -> Mapping[str, str]:
        """What the client's SETs changed."""
        return self._settings.own

    def follow(self, listener: Callable[[Progress], None] | None) -> None:
        """Call a listener with the progress of each query, in the thread that runs the query. None ends this."""
        self._connection.follow(listener)

    def execute(
        self, sql: str, settings: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> None:
        """Run a statement and discard its rows.

        Raises:
            EngineError: the engine refused or failed.
        """
        self.query(sql, "Null", settings, params)

    def take_role(self, role: str) -> None:
        """Run the next statements with the rights of this role of the engine.

        Raises:
            EngineError: there is no such role.
        """
        with self._lock:
            # Not by `query`, which reads all settings again after a SET. A role changes none.
            self._connection.query(f"SET ROLE {quote_name(role)}")

    def query(
        self,
        sql: str,
        output_format: str = "TSV",
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a statement with a small result, and return it whole.

        Args:
            sql: one statement; its FORMAT clause wins over `output_format`.
            output_format: any output format of ClickHouse.
            settings: settings of this query only.
            params: values of `{name:Type}`, each in ClickHouse's escaped text form.

        Raises:
            EngineError: the engine refused or failed.
        """
        first = next(scan(sql), None)
        with self._lock:
            if first is not None and first.upper == "SET":
                self._settings.run_set(sql, params)
                return b""
            self._settings.apply(settings)
            return self._connection.query(sql, output_format, params)

    def stream(
        self,
        sql: str,
        output_format: str,
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Generator[bytes, None, None]:
        """Run a reading statement and yield its result as one document, in bounded memory.

        Closing the iterator early kills the query. Arguments as for `query`.

        Raises:
            EngineError: the engine refused or failed, perhaps after part of the result.
        """
        statement = parse(sql)
        if statement.kind is not Kind.READ:
            yield from filter(None, [self.query(sql, output_format, settings, params)])
            return
        yield from self.stream_statement(statement, output_format, settings, params)

    def stream_statement(
        self,
        statement: Statement,
        output_format: str,
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Generator[bytes, None, None]:
        """`stream` for a reading statement that has been parsed."""
        wanted = statement.output_format or output_format
        with self._lock, PipeReader() as pipe:
            self._settings.apply(settings)
            # chDB's own streaming formats every chunk as a document, which breaks JSON, Arrow and header lines.
            sql = f"{statement.sql}\nINTO OUTFILE '{pipe.path}' TRUNCATE FORMAT {wanted} {statement.suffix}"
            yield from pipe.run(lambda: self._connection.query(sql, params=params), self.kill)

    def blocks(
        self, sql: str, settings: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> Generator[bytes, None, None]:
        """Run a reading statement and yield its result as Native blocks; none if the result is empty.

        Closing the iterator early cancels the query. Arguments as for `query`.

        Raises:
            EngineError: the engine refused or failed, perhaps after part of the result.
        """
        with self._lock:
            self._settings.apply(settings)
            blocks = self._connection.blocks(sql, params)
            try:
                first = next(blocks, b"")
            except EngineError as error:
                if error.code != STREAM_REFUSED:
                    raise
                first = self._connection.query(sql, "Native", params)
            if first:
                yield first
            yield from blocks

    def columns(
        self, sql: str, settings: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> list[tuple[str, str]]:
        """Names and types of the columns that a reading statement returns.

        Raises:
            EngineError: the engine refused.
        """
        statement = parse(sql)
        if statement.words[0] in {"SELECT", "WITH", "(", "FROM"}:
            described = f"DESCRIBE TABLE ({statement.sql}\n)"
            return [(name, kind) for name, kind, *_ in self._rows(described, settings, params)]
        # SHOW, EXPLAIN and others cannot be subqueries, but running them twice costs little.
        names_and_types = "JSONCompactStringsEachRowWithNamesAndTypes"
        head = self.query(statement.sql, names_and_types, settings, params).splitlines()[:2]
        return list(zip(*(orjson.loads(line) for line in head), strict=True))

    def insert_columns(
        self,
        statement: Statement,
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> list[tuple[str, str]]:
        """Names and types of the columns that an INSERT expects.

        Raises:
            EngineError: there is no such table or column.
        """
        if statement.input_call:
            rows = self._rows(f"DESCRIBE TABLE null({statement.input_structure})", settings, params)
            return [(name, kind) for name, kind, *_ in rows]
        if statement.columns:
            listed = statement.columns[1:-1]
            return self.columns(f"SELECT {listed} FROM {statement.table}", settings, params)  # noqa: S608 - the client's own
        rows = self._rows(f"DESCRIBE TABLE {statement.table}", settings, params)
        return [(name, kind) for name, kind, default, *_ in rows if default not in _COMPUTED]

    def insert(
        self,
        sql: str,
        input_format: str,
        chunks: Iterable[bytes],
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> int:
        """Insert encoded rows in constant memory. Returns the number of rows written, those of views included.

        Each block of `min_insert_block_size_rows` is atomic. If `chunks` raises, the current block is not inserted.

        Args:
            sql: `INSERT INTO t (columns)`, or one with a SELECT from `input(…)`; trailing VALUES or FORMAT is ignored.
            input_format: the format of the bytes in `chunks`.
            chunks: the encoded rows, cut anywhere.
            settings: settings of this query only.
            params: values of `{name:Type}`.

        Raises:
            EngineError: the engine refused or failed.
        """
        statement = parse(sql)
        with self._lock:
            self._settings.apply(settings)
            for name, value in (params or {}).items():
                self._connection.query(f"SET param_{quote_name(name)[1:-1]} = {quote_string(value)}")
            pipe = PipeWriter()
            reading = _reading(statement, pipe.path, input_format)
            return pipe.run(lambda: self._connection.insert(reading), chunks, self.kill)

    def drop_temporary_table(self, name: str) -> None:
        """Drop a temporary table of this session."""
        self.execute(f"DROP TEMPORARY TABLE IF EXISTS {quote_name(name)}")

    def kill(self) -> bool:
        """Ask the engine to stop this session's query. Returns at once; False if no query runs now."""
        try:
            return self._kill(self._id)
        except EngineError:  # the query ended meanwhile
            return False

    def close(self) -> None:
        """Release the connection and drop its temporary tables."""
        with self._lock:
            self._connection.close()

    def _rows(self, sql: str, settings: Mapping[str, str] | None, params: Mapping[str, str] | None) -> list[list[str]]:
        listed = self.query(sql, "JSONCompactStringsEachRow", settings, params)
        return [orjson.loads(line) for line in listed.splitlines()]


def _reading(statement: Statement, path: str, input_format: str) -> str:
    """The INSERT, made to read its rows from a file. chDB ignores `input(…)`, so `file(…)` replaces it."""
    if statement.input_call is None:
        return f"{statement.sql} FROM INFILE '{path}' {statement.suffix} FORMAT {input_format}"
    start, end = statement.input_call
    file = f"file('{path}', {quote_string(input_format)}, {statement.input_structure})"
    return f"{statement.sql[:start]}{file}{statement.sql[end:]}"
