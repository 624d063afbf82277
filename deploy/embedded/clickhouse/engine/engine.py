"""The ClickHouse engine in this process."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import structlog

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine import config as configuration
from deploy.embedded.clickhouse.engine.chdb_connection import Connection
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.engine.quarantine import quarantine
from deploy.embedded.clickhouse.engine.unfinished_inserts import forget_unfinished
from deploy.embedded.clickhouse.errors import EngineError, NodeStartError
from deploy.embedded.clickhouse.sql import query_ids
from deploy.embedded.clickhouse.sql.policy import Role

_log = structlog.get_logger(__name__)
__all__ = ["Engine", "EngineError", "EngineSession", "quote_name", "quote_string"]

_CONFIG_FILE = "node-config.xml"
_LOCK_FILE = "node.lock"
_SHARED_VIEWS = """
SELECT database, name, toString(uuid) FROM system.tables
WHERE database IN {databases:Array(String)} AND name IN {names:Array(String)} AND engine = 'View'
"""
_VIEWS_WITH_THE_READERS_RIGHTS = """
SELECT database, name FROM system.tables
WHERE database IN {databases:Array(String)} AND name IN {names:Array(String)} AND engine = 'View'
    AND position(create_table_query, 'SQL SECURITY DEFINER') = 0
"""


class Engine:
    """The engine on one data folder. A process has one engine.

    Sessions run their queries in parallel: the GIL is free while the engine works. `path` is the data folder.
    """

    def __init__(self, path: Path, connection_string: str, lock: BinaryIO) -> None:
        """Use `Engine.open` instead."""
        self.path = path
        self._lock = lock
        self._connection_string = connection_string
        self._admin_lock = threading.Lock()
        self._admin = Connection(connection_string)  # the engine runs as long as a connection is open
        self._setting_names: frozenset[str] = frozenset()
        self._shared: tuple[str, ...] = ()
        self._with_definers_rights: frozenset[str] = frozenset()

    @classmethod
    def open(cls, path: Path, *, config: Path | None = None) -> Engine:
        """Load the engine on a data folder. A missing folder is created.

        Args:
            path: the data folder.
            config: a ClickHouse server configuration; by default one made from this package's template.

        Raises:
            NodeStartError: another process uses the folder, or the engine cannot open it.
        """
        path = path.resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (path / _LOCK_FILE).open("wb")
            if config is None:
                config = configuration.write(path / _CONFIG_FILE, configuration.Limits())
        except OSError as error:
            raise NodeStartError(f"cannot write to the data folder {path}: {error}. Name one you may write.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel releases it however the process ends
        except OSError as error:
            lock.close()
            raise NodeStartError(
                f"the data folder {path} is in use by another process: stop that one or name another folder."
            ) from error
        for moved in quarantine(path):
            _log.error("metadata of a table that cannot run here moved aside, so that the store opens", **moved)
        for forgotten in forget_unfinished(path):
            _log.warning("insert that a kill interrupted forgotten: its repetition is accepted", **forgotten)
        # The engine reads its time zone from the environment when it loads, not from the configuration.
        os.environ["TZ"] = "UTC"
        time.tzset()
        try:
            # A descriptor's path has no blank. With a blank in the path, chDB would run without the configuration.
            descriptor = os.open(config, os.O_RDONLY | os.O_CLOEXEC)
            engine = cls(path, f"{path}?config-file=/proc/self/fd/{descriptor}", lock)
            engine.check_roles()
        except EngineError as error:
            lock.close()
            raise NodeStartError(f"the engine cannot open {path}: {error.text}") from error
        return engine

    def check_roles(self) -> None:
        """Check that the engine has read the configuration. Without it every client could do everything.

        Raises:
            EngineError: the engine does not know the roles of the configuration.
        """
        self._run("SET ROLE operator, reader, publisher, analyst")

    def session(self, database: str = "default", role: Role | None = None) -> EngineSession:
        """Open a session with its own settings, temporary tables and current database.

        Args:
            database: the session's current database.
            role: whose rights the session has; None for the node's own.

        Raises:
            EngineError: 81 if there is no such database.
        """
        session = EngineSession(Connection(self._connection_string), self._kill)
        try:
            if role is not None:
                session.execute(f"SET ROLE {role.value}")
            if role is Role.ANALYST:
                session.execute("SET readonly = 2")
            if database != "default":
                session.execute(f"USE {quote_name(database)}")
        except EngineError:
            session.close()
            raise
        return session

    def share(self, tables: Sequence[str]) -> None:
        """Name the tables that the analyst may read, each `database.table`. Their grants are in the configuration.

        Raises:
            EngineError: the engine failed.
        """
        self._shared = tuple(tables)
        self.share_views()

    def share_views(self) -> None:
        """Make the shared views read with the rights of their definer. Call it again after a view was created.

        Raises:
            EngineError: the engine failed.
        """
        if not self._shared:
            return
        views = {uuid: f"{database}.{name}" for database, name, uuid in self._rows(_SHARED_VIEWS, self._shared)}
        # Only new views: asking for the statements of all shared views would cost more than creating a view.
        new = [view for uuid, view in views.items() if uuid not in self._with_definers_rights]
        for name in self._rows(_VIEWS_WITH_THE_READERS_RIGHTS, new):
            view = ".".join(quote_name(part) for part in name)
            self._run(f"ALTER TABLE {view} MODIFY DEFINER = CURRENT_USER SQL SECURITY DEFINER")
        self._with_definers_rights = frozenset(views)

    def setting_names(self) -> frozenset[str]:
        """The names of all query settings."""
        if not self._setting_names:
            self._setting_names = frozenset(self._run("SELECT name FROM system.settings").split())
        return self._setting_names

    def version(self) -> str:
        """The engine's version, `26.9.2.1`."""
        return self._run("SELECT version()").strip()

    def close(self) -> None:
        """Stop the engine. Close every session first."""
        with self._admin_lock:
            self._admin.close()
        self._lock.close()

    def _kill(self, session_id: str) -> bool:
        return bool(self._run(f"KILL QUERY WHERE {query_ids.running(session_id)} ASYNC"))

    def _rows(self, sql: str, tables: Sequence[str]) -> list[list[str]]:
        """The rows about these tables (each `database.table`) of a SELECT whose first columns are database and name."""
        if not tables:
            return []
        databases, names = zip(*(table.split(".") for table in tables), strict=True)
        params = {"databases": _array(databases), "names": _array(names)}
        rows = [line.split("\t") for line in self._run(sql, params).splitlines()]
        return [row for row in rows if ".".join(row[:2]) in tables]

    def _run(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        with self._admin_lock:
            # Names and the text of queries need not be UTF-8.
            return self._admin.query(sql, params=params).decode("utf-8", "surrogateescape")


def _array(values: Iterable[str]) -> str:
    """A parameter of type Array(String)."""
    return f"[{', '.join(map(quote_string, sorted(set(values))))}]"
