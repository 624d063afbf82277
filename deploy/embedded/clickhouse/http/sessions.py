"""The sessions behind HTTP requests: named ones that live on, and a pool for requests without one."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.embedded.clickhouse.errors import SESSION_IS_LOCKED, refusal
from deploy.embedded.clickhouse.session import Session

_IDLE_PER_DATABASE = 8


@dataclass
class Named:
    """A session a client calls by name; `expires_at` is on the monotonic clock, s."""

    session: Session
    expires_at: float = 0.0
    is_busy: bool = True


class Sessions:
    """Hands out sessions to requests; thread-safe."""

    def __init__(self, open_session: Callable[[str], Session]) -> None:
        self._open = open_session
        self._lock = threading.Lock()
        self._named: dict[str, Named] = {}
        self._idle: dict[str, list[Session]] = defaultdict(list)

    @contextmanager
    def lend(self, database: str, session_id: str, timeout_s: float) -> Iterator[Session]:
        """A session for the length of one request.

        Args:
            database: its current database, "" for the default one; a named session keeps its own.
            session_id: name of a session that keeps its state between requests, "" for none.
            timeout_s: how long a named session lives on after this request.

        Raises:
            EngineError: 81 for an unknown database, 373 while another request uses the named session.
        """
        if session_id:
            yield from self._lend_named(database, session_id, timeout_s)
        else:
            yield from self._lend_pooled(database)

    def expire(self) -> None:
        """Close the named sessions whose time has passed."""
        now = time.monotonic()
        with self._lock:
            expired = [name for name, named in self._named.items() if not named.is_busy and named.expires_at < now]
            closing = [self._named.pop(name).session for name in expired]
        for session in closing:
            session.close()

    def close(self) -> None:
        """Close every session; no request may be running."""
        with self._lock:
            closing = [named.session for named in self._named.values()]
            closing += [session for idle in self._idle.values() for session in idle]
            self._named.clear()
            self._idle.clear()
        for session in closing:
            session.close()

    def _lend_named(self, database: str, session_id: str, timeout_s: float) -> Iterator[Session]:
        self.expire()
        with self._lock:
            named = self._named.get(session_id)
            if named is not None and named.is_busy:
                reason = f"Session {session_id} is locked by a concurrent client"
                raise refusal(SESSION_IS_LOCKED, "SESSION_IS_LOCKED", reason)
            if named is None:
                named = self._named[session_id] = Named(self._open(database))
            named.is_busy = True
        try:
            named.session.use(database)
            yield named.session
        finally:
            with self._lock:
                named.expires_at = time.monotonic() + timeout_s
                named.is_busy = False

    def _lend_pooled(self, database: str) -> Iterator[Session]:
        with self._lock:
            session = self._idle[database].pop() if self._idle[database] else None
        if session is None:
            session = self._open(database)
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            keep = session.is_pristine and len(self._idle[database]) < _IDLE_PER_DATABASE
            if keep:
                self._idle[database].append(session)
        if not keep:
            session.close()
