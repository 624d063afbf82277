"""Runs the views that ClickHouse refreshes by a schedule after each change of their database.

To refresh a view each second costs an idle node twice what all else does. So the views of an embedded stack have a slow
schedule, and are refreshed within a second of an insert.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import orjson
import structlog

from ddl.quoting import quote_name
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.errors import EngineError

_INTERVAL_SECONDS = 1.0
_CHANGING = frozenset({"INSERT", "ALTER", "DELETE", "UPDATE", "TRUNCATE", "RENAME", "EXCHANGE", "UNDROP"})
_SCHEDULED = "SELECT view FROM system.view_refreshes WHERE database = {database:String}"
_log = structlog.get_logger(__name__)


class Refresher:
    """Refreshes the views of a database after its changes, at most once a second.

    It is told of changes by the sessions of clients, whose current database is taken for the one that changed. Other
    changes wait for the view's schedule.
    """

    def __init__(self, engine: Engine) -> None:
        """Args:
        engine: the open engine.
        """
        self._engine = engine
        self._session = engine.session()
        self._changed = threading.Condition()
        self._databases: set[str] = set()
        self._logged = ""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="refreshes", daemon=True)

    def start(self) -> None:
        """Begin to refresh."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for a refresh that runs, and end."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._session.close()

    def handle(self, sql: str, database: str, execute: Callable[[str], None]) -> bool:
        """False: it takes over no statement."""
        del sql, database, execute
        return False

    def after(self, words: Sequence[str], database: str) -> None:
        """Called after a statement that begins with these keywords, in a session with this database."""
        if words and words[0] in _CHANGING:
            with self._changed:
                self._databases.add(database)
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._databases or self._is_stopping)
                if self._is_stopping:
                    return
                databases, self._databases = self._databases, set()
            due = time.monotonic() + _INTERVAL_SECONDS
            for database in databases:
                self._refresh(database)
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopping, timeout=due - time.monotonic())

    def _refresh(self, database: str) -> None:
        try:
            listed = self._session.query(_SCHEDULED, "JSONCompactEachRow", params={"database": database})
            for line in listed.splitlines():
                view = f"{quote_name(database)}.{quote_name(orjson.loads(line)[0])}"
                # A refresh that runs already may have begun before the change: only one that begins after it counts.
                self._session.execute(f"SYSTEM WAIT VIEW {view}")
                self._session.execute(f"SYSTEM REFRESH VIEW {view}")
                self._session.execute(f"SYSTEM WAIT VIEW {view}")
            self._logged = ""
        except EngineError as error:
            if error.message != self._logged:  # once, and not after each insert
                _log.warning("view not refreshed, its schedule tries again", database=database, error=error.message)
            self._logged = error.message
