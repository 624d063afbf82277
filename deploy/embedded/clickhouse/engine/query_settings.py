"""Gives a query settings of its own on a connection that has only SET."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

import orjson

from ddl.quoting import quote_string
from deploy.embedded.clickhouse.engine.chdb_connection import Connection
from deploy.embedded.clickhouse.errors import UNKNOWN_SETTING, EngineError, refusal

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class QuerySettings:
    """Keeps a connection's settings at the client's own SETs plus those of the current query."""

    def __init__(self, connection: Connection, settings: Mapping[str, str]) -> None:
        """Set the settings with which the connection begins. Their names come from this program and are not checked."""
        self._connection = connection
        self._applied: dict[str, str] = {}
        self._own: dict[str, str] = dict(settings)
        for name, value in settings.items():
            connection.query(f"SET {name} = {quote_string(value)}")

    @property
    def own(self) -> Mapping[str, str]:
        """What the client's SETs changed."""
        return self._own

    def apply(self, settings: Mapping[str, str] | None) -> None:
        """Apply exactly these settings to the next query, on top of the client's own.

        Raises:
            EngineError: 115 for an unknown name, or the engine refused a value. Then none of them applies.
        """
        wanted = dict(settings or {})
        if wanted == self._applied:
            return
        if unnamed := [name for name in wanted if not is_setting_name(name)]:
            raise refusal(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{unnamed[0]}'")
        changes = {name: value for name, value in wanted.items() if self._applied.get(name) != value}
        clauses = [f"{name} = {quote_string(value)}" for name, value in changes.items()]
        clauses += [f"{name} = {self._original(name)}" for name in self._applied.keys() - wanted.keys()]
        try:
            self._connection.query(f"SET {', '.join(clauses)}")
        except EngineError:
            self._undo(changes.keys() | self._applied.keys())
            raise
        self._applied = wanted

    def run_set(self, sql: str, params: Mapping[str, str] | None) -> None:
        """Run a client's SET statement, and remember the values that later queries return to.

        Raises:
            EngineError: the engine refused it.
        """
        self.apply(None)
        self._connection.query(sql, params=params)
        changed = self._connection.query("SELECT name, value FROM system.settings WHERE changed", "JSONCompactEachRow")
        self._own = dict(orjson.loads(line) for line in changed.splitlines())

    def _undo(self, names: Iterable[str]) -> None:
        self._applied = {}
        for name in names:
            with suppress(EngineError):  # the setting that was refused
                self._connection.query(f"SET {name} = {self._original(name)}")

    def _original(self, name: str) -> str:
        return quote_string(self._own[name]) if name in self._own else "DEFAULT"


def is_setting_name(name: str) -> bool:
    """Whether a text can be the name of a setting or parameter in a SET."""
    return _SETTING_NAME.fullmatch(name) is not None
