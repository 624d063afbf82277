"""The sessions of HTTP requests: named ones that outlive a request, and a pool for requests without a name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.embedded.clickhouse.errors import SESSION_IS_LOCKED, refusal
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.sql.policy import Role

_IDLE_PER_DATABASE = 8
_MOST_NAMED = 500


@dataclass
class Named:
    """A session that a client names. `expires_at` is in seconds of the monotonic clock."""

    session: Session
    expires_at: float = 0.0
    is_busy: bool = True


class Sessions:
    """Lends sessions to requests. Thread-safe."""

    def __init__(self, open_session: Callable[[str, Role], Session]) -> None:
        self._open = open_session
        self._lock = threading.Lock()
        self._named: dict[tuple[Role, str], Named] = {}
        self._idle: dict[tuple[Role, str], list[Session]] = {}

    @contextmanager
    def lend(self, role: Role, database: str, session_id: str, timeout_s: float) -> Iterator[Session]:
        """Lend a session for one request.

        Args:
            role: whose session it is. A role never gets the session of another one.
            database: the current database of this request; "" for the default, or for that of the named session.
            session_id: name of a session that keeps its state between requests; "" for none.
            timeout_s: how long a named session lives on after this request.

        Raises:
            EngineError: 81 for an unknown database; 373 if another request uses the named session, or too many are
                open.
        """
        if session_id:
            yield from self._lend_named(role, database, session_id, timeout_s)
        else:
            yield from self._lend_pooled(role, database)

    def expire(self) -> None:
        """Close the named sessions that have expired."""
        now = time.monotonic()
        with self._lock:
            expired = [name for name, named in self._named.items() if not named.is_busy and named.expires_at < now]
            closing = [self._named.pop(name).session for name in expired]
        for session in closing:
            session.close()

    def close(self) -> None:
        """Close every session. No request may be running."""
        with self._lock:
            closing = [named.session for named in self._named.values()]
            closing += [session for idle in self._idle.values() for session in idle]
            self._named.clear()
            self._idle.clear()
        for session in closing:
            session.close()

    def _lend_named(self, role: Role, database: str, session_id: str, timeout_s: float) -> Iterator[Session]:
        self.expire()
        with self._lock:
            named = self._named.get((role, session_id))
            if named is not None and named.is_busy:
                reason = f"Session {session_id} is locked by a concurrent client"
                raise refusal(SESSION_IS_LOCKED, "SESSION_IS_LOCKED", reason)
            if named is None and len(self._named) >= _MOST_NAMED:
                reason = f"{_MOST_NAMED} sessions are open: leave out session_id, or let some expire"
                raise refusal(SESSION_IS_LOCKED, "TOO_MANY_SESSIONS", reason)
            if named is None:
                named = self._named[role, session_id] = Named(self._open("", role))
            named.is_busy = True
        try:
            named.session.use(database)
            yield named.session
        finally:
            with self._lock:
                named.expires_at = time.monotonic() + timeout_s
                named.is_busy = False

    def _lend_pooled(self, role: Role, database: str) -> Iterator[Session]:
        with self._lock:
            idle = self._idle.get((role, database))
            session = idle.pop() if idle else None
        if session is None:
            session = self._open(database, role)
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            idle = self._idle.setdefault((role, database), [])
            keep = session.is_pristine and len(idle) < _IDLE_PER_DATABASE
            if keep:
                idle.append(session)
        if not keep:
            session.close()
