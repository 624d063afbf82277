"""A chDB connection that raises ClickHouse's errors. No other module imports chDB."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.embedded.clickhouse.errors import engine_error

# chDB refuses a statement that it cannot stream with this code, before it runs anything.
STREAM_REFUSED = 36
# A statement or parameter that is not UTF-8 leads to a UnicodeError or a TypeError.
_FAILURES = (RuntimeError, UnicodeError, TypeError)


@dataclass(frozen=True)
class Progress:
    """The progress of a query.

    Attributes:
        rows, bytes: what it has read.
        total_rows, total_bytes: what it reads in all, as far as the engine knows.
        written_rows, written_bytes: what it and the views of its table have written.
        elapsed_ns: how long it has run.
    """

    rows: int = 0
    bytes: int = 0
    total_rows: int = 0
    total_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0

    def since(self, before: Progress) -> Progress:
        """The progress made after `before`."""
        return Progress(
            max(self.rows - before.rows, 0),
            max(self.bytes - before.bytes, 0),
            max(self.total_rows - before.total_rows, 0),
            max(self.total_bytes - before.total_bytes, 0),
            max(self.written_rows - before.written_rows, 0),
            max(self.written_bytes - before.written_bytes, 0),
            max(self.elapsed_ns - before.elapsed_ns, 0),
        )


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

    def follow(self, listener: Callable[[Progress], None] | None) -> None:
        """Call a listener with the progress of each query, in the thread that runs the query. None ends this."""
        if listener is None:
            self._chdb.set_progress_callback(None)
            return

        def on_progress(counts: Mapping[str, int]) -> None:
            listener(
                Progress(
                    counts["read_rows"],
                    counts["read_bytes"],
                    counts["total_rows_to_read"],
                    counts["total_bytes_to_read"],
                    counts["written_rows"],
                    counts["written_bytes"],
                    counts["elapsed_ns"],
                )
            )

        self._chdb.set_progress_callback(on_progress)

    def query(self, sql: str, output_format: str = "TSV", params: Mapping[str, str] | None = None) -> bytes:
        """Run a statement and return its whole result.

        Raises:
            EngineError: the engine refused or failed.
        """
        try:
            result: bytes = self._chdb.query(_bytes(sql), output_format, params=dict(params or {})).bytes()
        except _FAILURES as error:
            raise engine_error(error) from error
        return result

    def blocks(self, sql: str, params: Mapping[str, str] | None = None) -> Generator[bytes, None, None]:
        """Run a statement and yield its result as Native blocks. Closing the iterator cancels the statement.

        Raises:
            EngineError: the engine refused or failed. The code is STREAM_REFUSED if it cannot stream this statement.
        """
        try:
            stream: Any = self._chdb.send_query(_bytes(sql), "Native", params=dict(params or {}))
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
            return int(self._chdb.query(_bytes(sql), "Null").rows_written())
        except _FAILURES as error:
            raise engine_error(error) from error

    def close(self) -> None:
        """Disconnect. The last connection of a process stops the engine."""
        self._chdb.close()


def _bytes(sql: str) -> bytes:
    """The bytes of a statement as its client sent them. In the text, bytes that are not UTF-8 are surrogates."""
    return sql.encode("utf-8", "surrogateescape")
