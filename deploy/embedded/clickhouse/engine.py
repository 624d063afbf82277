"""The ClickHouse engine in this process: the only module that touches chDB."""

from __future__ import annotations

import importlib
import os
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import orjson

from deploy.embedded.clickhouse import config as configuration
from deploy.embedded.clickhouse.errors import (
    UNKNOWN_SETTING,
    EngineError,
    NodeStartError,
    engine_error,
    refusal,
)
from deploy.embedded.clickhouse.pipes import PipeReader
from deploy.embedded.clickhouse.statements import Kind, Statement, parse, refuse_harmful, scan

# A setting that names the engine session in system.processes, so that its query can be found and killed. chDB
# gives queries ids of its own and knows no custom settings; this one means nothing while the query cache is off.
SESSION_SETTING = "query_cache_tag"
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_NO_FETCH_CODE = 36


def quote_string(value: str) -> str:
    """A string literal of ClickHouse SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(value: str) -> str:
    """A quoted identifier of ClickHouse SQL."""
    return "`" + value.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Engine:
    """The engine of one data folder; a process holds one.

    Several sessions run their queries in parallel; the GIL is free while the engine works.
    """

    def __init__(self, connection_string: str) -> None:
        self._connection_string = connection_string
        self._chdb = importlib.import_module("chdb")
        self._keeper = self._connect()  # the engine lives as long as any connection does
        self._admin_lock = threading.Lock()
        self._admin = self._connect()
        self._setting_names: frozenset[str] | None = None

    @classmethod
    def open(cls, path: Path, *, config: Path | None = None) -> Engine:
        """Load the engine on a data folder, which is created if need be.

        Args:
            path: the data folder.
            config: a ClickHouse server configuration; by default one made from this package's template.

        Raises:
            NodeStartError: another process uses the folder, or it cannot be opened.
        """
        path = path.resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NodeStartError(f"cannot create the data folder {path}: {error}. Name one you may write.") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise NodeStartError(f"the data folder {path} is not writable. Name one you may write.")
        if config is None:
            config = configuration.write(path / "node-config.xml", configuration.Limits())
        # The engine takes its time zone from the environment when it loads, not from the configuration.
        os.environ["TZ"] = "UTC"
        time.tzset()
        try:
            return cls(f"{quote(str(path))}?config-file={quote(str(config.resolve()))}")
        except EngineError as error:
            raise NodeStartError(_start_failure(path, error)) from error

    def session(self, database: str = "default") -> EngineSession:
        """A session of its own settings, temporary tables and current database.

        Raises:
            EngineError: 81 where there is no such database.
        """
        session = EngineSession(self, self._connect())
        try:
            if database != "default":
                session.execute(f"USE {quote_name(database)}")
        except EngineError:
            session.close()
            raise
        return session

    def setting_names(self) -> frozenset[str]:
        """The names of all query settings."""
        if self._setting_names is None:
            rows = self._run_admin("SELECT name FROM system.settings")
            self._setting_names = frozenset(rows.decode().split())
        return self._setting_names

    def version(self) -> str:
        """The engine's version, `26.9.2.1`."""
        return self._run_admin("SELECT version()").decode().strip()

    def kill(self, session_id: str) -> None:
        """Ask the engine to stop the query that a session is running; returns at once."""
        self._run_admin(f"KILL QUERY WHERE Settings['{SESSION_SETTING}'] = {quote_string(session_id)} ASYNC")

    def close(self) -> None:
        """Stop the engine; sessions have to be closed before."""
        with self._admin_lock:
            self._admin.close()
        self._keeper.close()

    def _connect(self) -> Any:
        try:
            return self._chdb.connect(self._connection_string)
        except (RuntimeError, self._chdb.ChdbError) as error:
            raise engine_error(error) from error

    def _run_admin(self, sql: str) -> bytes:
        with self._admin_lock:
            return _whole(self._admin, sql, "TSV", {})


def _start_failure(path: Path, error: EngineError) -> str:
    if "lock" in error.message.lower():
        return f"the data folder {path} is in use by another process: stop that one or name another folder."
    return f"the engine cannot open {path}: {error.text}"


def _whole(connection: Any, sql: str, output_format: str, params: Mapping[str, str]) -> bytes:
    try:
        result: bytes = connection.query(sql, output_format, params=dict(params)).bytes()
    except RuntimeError as error:
        raise engine_error(error) from error
    return result


class EngineSession:
    """One engine connection. Queries on it are serialised; `kill` may be called from any thread."""

    def __init__(self, engine: Engine, connection: Any) -> None:
        self._engine = engine
        self._connection = connection
        self._lock = threading.Lock()  # not re-entrant: a stream may be read from several threads in turn
        self._applied: dict[str, str] = {}
        self._own: dict[str, str] = {}
        self.id = uuid.uuid4().hex
        # chDB reads a misspelt keyword as an expression to select; a server calls it a syntax error.
        _whole(connection, f"SET {SESSION_SETTING} = '{self.id}', implicit_select = 0", "TSV", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def execute(
        self, sql: str, settings: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> None:
        """Run a statement whose rows, if any, nobody reads.

        Raises:
            EngineError: the engine refused or failed.
        """
        self.query(sql, "Null", settings, params)

    def query(
        self,
        sql: str,
        output_format: str = "TSV",
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a statement and return its whole result; for small ones.

        Args:
            sql: one statement; a FORMAT clause in it wins over `output_format`.
            settings: settings of this query only.
            params: values of `{name:Type}`, each in ClickHouse's escaped text form.

        Raises:
            EngineError: the engine refused or failed.
        """
        refuse_harmful(sql)
        with self._lock:
            if _is_set(sql):
                return self._set(sql, params)
            self._apply(settings)
            return _whole(self._connection, sql, output_format, params or {})

    def stream(
        self,
        sql: str,
        output_format: str,
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[bytes]:
        """Run a reading statement; its result, formatted as one document, in bounded memory.

        Closing the iterator early kills the query.

        Raises:
            EngineError: the engine refused or failed, perhaps after part of the result.
        """
        statement = parse(sql)
        if statement.kind is not Kind.READ:
            yield from filter(None, [self.query(sql, output_format, settings, params)])
            return
        refuse_harmful(sql)
        with self._lock:
            self._apply(settings)
            yield from self._stream_through_pipe(statement, output_format, params or {})

    def _stream_through_pipe(
        self, statement: Statement, output_format: str, params: Mapping[str, str]
    ) -> Iterator[bytes]:
        # chDB's own streaming formats every chunk as a document of its own: JSON, Arrow and headers come out broken.
        wanted = statement.output_format or output_format
        with PipeReader() as pipe:
            sql = f"{statement.sql} INTO OUTFILE '{pipe.path}' TRUNCATE FORMAT {wanted} {statement.suffix}"
            yield from pipe.run(lambda: _whole(self._connection, sql, "TSV", params), self.kill)

    def blocks(
        self, sql: str, settings: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """Run a reading statement; its result as Native blocks, one an item; none where it is empty.

        Closing the iterator early cancels the query.

        Raises:
            EngineError: the engine refused or failed, perhaps after part of the result.
        """
        refuse_harmful(sql)
        with self._lock:
            self._apply(settings)
            try:
                stream = self._connection.send_query(sql, "Native", params=dict(params or {}))
            except RuntimeError as error:
                if (failure := engine_error(error)).code != _NO_FETCH_CODE:
                    raise failure from error
                # Not a statement chDB can stream, and refused before it ran.
                yield from filter(None, [_whole(self._connection, sql, "Native", params or {})])
                return
            try:
                for chunk in stream:
                    yield chunk.bytes()
            except RuntimeError as error:
                raise engine_error(error) from error
            finally:
                stream.close()

    def columns(
        self, sql: str, settings: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> list[tuple[str, str]]:
        """Names and types of the columns that a reading statement returns.

        Raises:
            EngineError: the engine refused.
        """
        statement = parse(sql)
        if statement.words[0] in {"SELECT", "WITH", "(", "FROM"}:
            described = self.query(f"DESCRIBE TABLE ({statement.sql})", "JSONCompactColumns", settings, params)
            names, types = orjson.loads(described)[:2]
            return list(zip(names, types, strict=True))
        # SHOW, EXPLAIN and the like cannot stand in a subquery, but cost little to run again.
        head = self.query(statement.sql, "JSONCompactStringsEachRowWithNamesAndTypes", settings, params)
        names, types = (orjson.loads(line) for line in head.splitlines()[:2])
        return list(zip(names, types, strict=True))

    def insert(
        self,
        sql: str,
        input_format: str,
        chunks: Iterable[bytes],
        settings: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> int:
        """Insert encoded rows in constant memory; returns the number of rows written, views' included.

        Atomic per block of `min_insert_block_size_rows`; nothing of the open block is kept if `chunks` raises.

        Args:
            sql: `INSERT INTO t (columns)`; a trailing VALUES or FORMAT is ignored.
            input_format: the format of the bytes in `chunks`.

        Raises:
            EngineError: the engine refused or failed.
        """
        refuse_harmful(sql)
        statement = parse(sql)
        with self._lock:
            self._apply(settings)
            for name, value in (params or {}).items():
                _whole(self._connection, f"SET param_{_checked_name(name)} = {quote_string(value)}", "TSV", {})
            try:
                inserter = self._connection.send_insert(statement.sql, input_format)
            except RuntimeError as error:
                raise engine_error(error) from error
            with inserter:
                for chunk in chunks:
                    try:
                        inserter.append(chunk)
                    except RuntimeError as error:
                        raise engine_error(error) from error
                try:
                    return int(inserter.finish().rows_written)
                except RuntimeError as error:
                    raise engine_error(error) from error

    def kill(self) -> None:
        """Ask the engine to stop what this session is running; returns at once."""
        with suppress(EngineError):  # the node is closing, or the query has just ended
            self._engine.kill(self.id)

    def close(self) -> None:
        """Release the connection and drop its temporary tables."""
        with self._lock:
            self._connection.close()

    def _set(self, sql: str, params: Mapping[str, str] | None) -> bytes:
        """Run a SET of the client's own, and remember what later queries have to come back to."""
        self._apply(None)
        result = _whole(self._connection, sql, "TSV", params or {})
        changed = _whole(
            self._connection, "SELECT name, value FROM system.settings WHERE changed", "JSONCompactEachRow", {}
        )
        self._own = dict(orjson.loads(line) for line in changed.splitlines())
        return result

    def _apply(self, settings: Mapping[str, str] | None) -> None:
        """Make exactly these settings hold for the next query, on top of the client's own SETs."""
        wanted = dict(settings or {})
        changes = {name: value for name, value in wanted.items() if self._applied.get(name) != value}
        gone = self._applied.keys() - wanted.keys()
        if not changes and not gone:
            return
        clauses = [f"{_checked_name(name)} = {quote_string(value)}" for name, value in changes.items()]
        clauses += [f"{name} = {self._original(name)}" for name in gone]
        try:
            _whole(self._connection, f"SET {', '.join(clauses)}", "TSV", {})
        except EngineError:
            self._undo(changes.keys() | self._applied.keys())
            raise
        self._applied = wanted

    def _undo(self, names: Iterable[str]) -> None:
        self._applied = {}
        for name in names:
            with suppress(EngineError):  # the very setting that was refused
                _whole(self._connection, f"SET {name} = {self._original(name)}", "TSV", {})

    def _original(self, name: str) -> str:
        return quote_string(self._own[name]) if name in self._own else "DEFAULT"


def _is_set(sql: str) -> bool:
    first = next(scan(sql), None)
    return first is not None and first.upper == "SET"


def _checked_name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise refusal(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
    return name
