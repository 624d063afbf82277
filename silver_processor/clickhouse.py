"""The worker's ClickHouse connection. It repeats a request until it succeeds; a repeated insert changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from config.clickhouse_arrow import arrow_settings, insert_once_settings, select_arrow
from config.connections import clickhouse_http
from config.settings import Settings
from silver_processor.batching.ranges import MAX_INSERT_ROWS
from silver_processor.retry import RetryPolicy

# After these errors the same request is sent again: the server is away, or it refuses.
_FAILURES: tuple[type[Exception], ...] = (ClickHouseError, HTTPError, OSError)
# A streamed result can also break off in the middle.
_STREAM_FAILURES = (*_FAILURES, pa.ArrowException)
# While a re-derivation replaces a day, a constraint with this name keeps the day's rows out (offload/publish/pause.py).
_PAUSE_CONSTRAINT = "Constraint `publishing"
# Columns with few distinct values. Each value is sent once.
_DICTIONARY_COLUMNS = frozenset(
    ("exchange", "symbol", "side", "trade_kind", "exchange_symbol", "raw_topic", "insert_token", "rules_version")
)


class SilverPausedError(RuntimeError):
    """A re-derivation replaces a day of the rows. De-duplicate the rows again, then insert them under the same token.

    One server has inserted nothing. On a cluster shards that were not paused yet may have taken their part, and the
    token keeps them from taking it again.
    """


class ClickHouse:
    """One HTTP connection, opened by the first request. Every method waits for a server that is away.

    The other clients give up, since a person or a schedule runs them again. A worker must not skip a trade.

    Raises (every method):
        WorkerStoppedError: the worker stops.
    """

    def __init__(self, settings: Settings, retry: RetryPolicy) -> None:
        self._settings = settings
        self._retry = retry
        self._client: Any = None

    def select(self, query: str, parameters: Mapping[str, Any], *, text: bool = True) -> pa.Table:
        """The result of a query. `text=False` returns String columns as bytes."""

        def request() -> pa.Table:
            return select_arrow(self._connection(), query, parameters, text=text)

        return self._retry.until_done("read from ClickHouse", request, _FAILURES)

    def read_blocks(
        self, query: str, parameters: Mapping[str, Any], consume: Callable[[Iterator[pa.Table]], None]
    ) -> None:
        """Pass the result to `consume` block by block, so that it need not fit into memory.

        If the result breaks off, the query is repeated, and `consume` is called again from the first block on.
        """

        def stream() -> None:
            body = self._connection().raw_stream(
                query, parameters=dict(parameters), fmt="ArrowStream", settings=arrow_settings(text=True)
            )
            with contextlib.closing(body), pa.ipc.open_stream(body) as reader:
                consume(pa.Table.from_batches([batch]) for batch in reader)

        self._retry.until_done("load the seen trades", stream, _STREAM_FAILURES)

    def insert(self, table: str, rows: pa.Table, token: str, before_request: Callable[[], None] | None = None) -> None:
        """Insert the rows as one block (at most `MAX_INSERT_ROWS`) under a de-duplication token.

        An insert that is repeated with the same token and rows changes nothing, or completes an insert that was
        interrupted. `before_request` runs before every attempt. An exception that it raises ends the attempts.

        Raises:
            SilverPausedError: a re-derivation replaces a day of the rows.
        """
        body = _arrow_stream(rows)
        settings = insert_once_settings(token) | {
            "max_insert_block_size": MAX_INSERT_ROWS,
            "min_insert_block_size_rows": MAX_INSERT_ROWS,
            "min_insert_block_size_bytes": 0,
        }

        def send() -> None:
            if before_request is not None:
                before_request()
            try:
                self._connection().raw_insert(
                    table, column_names=rows.column_names, insert_block=body, settings=settings, fmt="ArrowStream"
                )
            except ClickHouseError as error:
                if _PAUSE_CONSTRAINT in str(error):
                    raise SilverPausedError(str(error)) from error
                raise

        self._retry.until_done(f"insert into {table}", send, _FAILURES)

    def _connection(self) -> Any:
        if self._client is None:
            self._client = clickhouse_connect.get_client(**clickhouse_http(self._settings))
        return self._client


def _arrow_stream(rows: pa.Table) -> pa.Buffer:
    """The rows as an Arrow stream of one record batch, so that the server makes one block of them."""
    for place, field in enumerate(rows.schema):
        if field.name in _DICTIONARY_COLUMNS:
            column = rows.column(place).combine_chunks().dictionary_encode()
            rows = rows.set_column(place, field.name, column)
    rows = rows.combine_chunks()
    # A growing buffer is copied several times, so the size is measured first.
    size = pa.MockOutputStream()
    _write_stream(rows, size)
    body = pa.allocate_buffer(size.size())
    _write_stream(rows, pa.FixedSizeBufferWriter(body))
    return body


def _write_stream(rows: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
