"""A chDB connection that raises ClickHouse's errors. No other module imports chDB."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from typing import Any

from deploy.embedded.clickhouse.errors import engine_error

# chDB refuses a statement that it cannot stream with this code, before it runs anything.
STREAM_REFUSED = 36
# chDB reports text that is not UTF-8 as an argument of the wrong type.
_FAILURES = (RuntimeError, UnicodeError, TypeError)


class Connection:
    """One connection to the engine in this process. The engine runs its queries one at a time."""

    def __init__(self, connection_string: str) -> None:
        """Connect. The first connection of a process loads the engine and opens the folder.

        Raises:
            EngineError: the folder cannot be opened.
        """
        chdb = importlib.import_module("chdb")
        try:
            self._chdb = chdb.connect(connection_string)
        except _FAILURES as error:
            raise engine_error(error) from error

    def query(self, sql: str, output_format: str = "TSV", params: Mapping[str, str] | None = None) -> bytes:
        """Run a statement and return its whole result.

        Raises:
            EngineError: the engine refused or failed.
        """
        try:
            result: bytes = self._chdb.query(sql, output_format, params=dict(params or {})).bytes()
        except _FAILURES as error:
            raise engine_error(error) from error
        return result

    def blocks(self, sql: str, params: Mapping[str, str] | None = None) -> Generator[bytes, None, None]:
        """Run a statement and yield its result as Native blocks. Closing the iterator cancels the statement.

        Raises:
            EngineError: the engine refused or failed; code STREAM_REFUSED where it cannot stream this statement.
        """
        try:
            stream: Any = self._chdb.send_query(sql, "Native", params=dict(params or {}))
        except _FAILURES as error:
            raise engine_error(error) from error
        try:
            for chunk in stream:
                yield chunk.bytes()
        except _FAILURES as error:
            raise engine_error(error) from error
        finally:
            stream.close()

    def insert(self, sql: str) -> int:
        """Run an INSERT that brings its own data. Returns the number of rows written, those of views included.

        Do not use chDB's streaming inserter (`send_insert`). It reports success and drops the rows when a constraint or
        a view fails or a block has too many partitions.

        Raises:
            EngineError: the engine refused or failed.
        """
        try:
            return int(self._chdb.query(sql, "Null").rows_written())
        except _FAILURES as error:
            raise engine_error(error) from error

    def close(self) -> None:
        """Disconnect. The last connection of a process stops the engine."""
        self._chdb.close()
