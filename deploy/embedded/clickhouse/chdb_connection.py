"""A chDB connection with ClickHouse's errors and nothing else: the only module that touches chDB."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from typing import Any

from deploy.embedded.clickhouse.errors import engine_error

# chDB's answer, before it runs anything, to a statement it cannot stream.
STREAM_REFUSED = 36
# It takes a text that is not UTF-8 for an argument of another type.
_FAILURES = (RuntimeError, UnicodeError, TypeError)


class Connection:
    """One connection to the engine in this process; its queries are serialised by the engine."""

    def __init__(self, connection_string: str) -> None:
        """Connect; the first connection of a process loads the engine and opens the folder.

        Raises:
            EngineError: the folder cannot be opened.
        """
        chdb = importlib.import_module("chdb")
        try:
            self._chdb = chdb.connect(connection_string)
        except _FAILURES as error:
            raise engine_error(error) from error

    def query(self, sql: str, output_format: str = "TSV", params: Mapping[str, str] | None = None) -> bytes:
        """Run a statement; its whole result.

        Raises:
            EngineError: the engine refused or failed.
        """
        try:
            result: bytes = self._chdb.query(sql, output_format, params=dict(params or {})).bytes()
        except _FAILURES as error:
            raise engine_error(error) from error
        return result

    def blocks(self, sql: str, params: Mapping[str, str] | None = None) -> Generator[bytes, None, None]:
        """Run a statement; its result as Native blocks. Closing the iterator cancels it.

        Raises:
            EngineError: the engine refused (STREAM_REFUSED: cannot stream this statement) or failed.
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
        """Run an INSERT that brings its own data; the number of rows written, those of views included.

        chDB's streaming inserter (`send_insert`) must not be used: it reports success and drops the rows where the
        table refuses them (constraints, failing views, too many partitions).

        Raises:
            EngineError: the engine refused or failed.
        """
        try:
            return int(self._chdb.query(sql, "Null").rows_written())
        except _FAILURES as error:
            raise engine_error(error) from error

    def close(self) -> None:
        """Disconnect; the last connection of a process stops the engine."""
        self._chdb.close()
