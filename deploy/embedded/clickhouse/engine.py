"""The ClickHouse engine in this process."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse import config as configuration
from deploy.embedded.clickhouse.chdb_connection import Connection
from deploy.embedded.clickhouse.engine_session import SESSION_SETTING, EngineSession
from deploy.embedded.clickhouse.errors import EngineError, NodeStartError

__all__ = ["Engine", "EngineError", "EngineSession", "quote_name", "quote_string"]

_CONFIG_FILE = "node-config.xml"
_LOCK_FILE = "node.lock"


class Engine:
    """The engine of one data folder; a process holds one.

    Several sessions run their queries in parallel; the GIL is free while the engine works.
    """

    def __init__(self, connection_string: str, lock: BinaryIO) -> None:
        """Use `Engine.open`."""
        self._lock = lock
        self._connection_string = connection_string
        self._admin_lock = threading.Lock()
        self._admin = Connection(connection_string)  # the engine lives as long as any connection does
        self._setting_names: frozenset[str] = frozenset()

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
            lock = (path / _LOCK_FILE).open("wb")
            if config is None:
                config = configuration.write(path / _CONFIG_FILE, configuration.Limits())
        except OSError as error:
            raise NodeStartError(f"cannot write to the data folder {path}: {error}. Name one you may write.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except OSError as error:
            lock.close()
            raise NodeStartError(
                f"the data folder {path} is in use by another process: stop that one or name another folder."
            ) from error
        # The engine takes its time zone from the environment when it loads, not from the configuration.
        os.environ["TZ"] = "UTC"
        time.tzset()
        try:
            return cls(f"{path}?config-file={quote(str(config.resolve()))}", lock)
        except EngineError as error:
            lock.close()
            raise NodeStartError(f"the engine cannot open {path}: {error.text}") from error

    def session(self, database: str = "default") -> EngineSession:
        """A session of its own settings, temporary tables and current database.

        Raises:
            EngineError: 81 where there is no such database.
        """
        session = EngineSession(Connection(self._connection_string), self._kill)
        try:
            if database != "default":
                session.execute(f"USE {quote_name(database)}")
        except EngineError:
            session.close()
            raise
        return session

    def setting_names(self) -> frozenset[str]:
        """The names of all query settings."""
        if not self._setting_names:
            self._setting_names = frozenset(self._run("SELECT name FROM system.settings").split())
        return self._setting_names

    def version(self) -> str:
        """The engine's version, `26.9.2.1`."""
        return self._run("SELECT version()").strip()

    def close(self) -> None:
        """Stop the engine; every session has to be closed before."""
        with self._admin_lock:
            self._admin.close()
        self._lock.close()

    def _kill(self, session_id: str) -> bool:
        return bool(self._run(f"KILL QUERY WHERE Settings['{SESSION_SETTING}'] = {quote_string(session_id)} ASYNC"))

    def _run(self, sql: str) -> str:
        with self._admin_lock:
            return self._admin.query(sql).decode()
