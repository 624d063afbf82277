"""The offload's ClickHouse client: small results as rows, large ones as a stream of Parquet bytes.

All requests use HTTP, so the same code works with a remote server and a bucket, and with the embedded node and a
folder. The server needs no right to write to the warehouse, and only the offload needs credentials for it. `INSERT INTO
FUNCTION file()` would not do: a server confines it to its own folder. It is not faster either: on two cores, with 3
million rows like those of Silver, both ways write 3.8 million rows/s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from config.clickhouse_arrow import insert_arrow
from config.clickhouse_ping import SilentServerError, check_answers
from config.connections import clickhouse_http
from config.settings import Settings
from offload.clickhouse.templates import render
from offload.errors import HotStoreError

CHUNK_BYTES = 1 << 20
Parameters = Mapping[str, str | int | list[str]]

# Small row groups, and sorts and groupings that go to disk, keep the server below 1 GiB at 3 million rows an hour.
# Bloom filters halve the speed, and none of our readers uses them.
_EXPORT_SETTINGS: dict[str, Any] = {
    "output_format_parquet_write_bloom_filter": 0,
    "output_format_parquet_row_group_size": 250_000,
    "output_format_parquet_string_as_string": 1,
    "output_format_parquet_compression_method": "zstd",
    "max_bytes_before_external_sort": 100_000_000,
    "max_threads": 2,
}
_QUERY_SETTINGS: dict[str, Any] = {
    "max_bytes_before_external_group_by": 200_000_000,
    "max_bytes_before_external_sort": 100_000_000,
    "max_threads": 2,
}
# Servers from 26.1 on ignore `insert_deduplicate` and use `deduplicate_insert`.
_INSERT_SETTINGS: dict[str, Any] = {
    "deduplicate_insert": "disable",
    "max_partitions_per_insert_block": 0,
    "async_insert": 0,
}


class HotStore(Protocol):
    """The ClickHouse operations that the offload uses."""

    def rows(self, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
        """The result of a statement, one mapping for each row. Raises HotStoreError."""
        ...

    def column_types(self, select: str, parameters: Parameters) -> Mapping[str, str]:
        """The types of the columns of `select` by name, in their order. Raises HotStoreError.

        A text is described once: migrations do not change a column's type under a running command.
        """
        ...

    def command(self, sql: str, parameters: Parameters) -> None:
        """Run a statement without a result. Raises HotStoreError."""
        ...

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append rows, columns by name, without de-duplication. Raises HotStoreError."""
        ...

    def at(self, host: str, database: str) -> HotStore:
        """A client with the same login for another host and database. Raises HotStoreError."""
        ...

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        """The result as the bytes of one Parquet file, in chunks. Raises HotStoreError.

        After an error half-way the file may end early without an exception, so check its footer.
        """
        ...


class ClickHouseHttp:
    """`HotStore` over ClickHouse's HTTP interface; one per thread.

    Only the cold tier streams results of many GB, so only this client waits an hour for one. Nothing is repeated: an
    error ends the run, and the next run completes it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            check_answers(settings)
            self._client = clickhouse_connect.get_client(
                **clickhouse_http(settings), compress=False, send_receive_timeout=3600
            )
        except SilentServerError as error:
            raise HotStoreError(str(error)) from error
        except ClickHouseError as error:
            endpoint = f"{settings.clickhouse_host}:{settings.clickhouse_http_port}"
            message = (
                f"No ClickHouse answers over HTTP at {endpoint} ({error}). Start it (`medallion up`) or set "
                "MEDALLION_CLICKHOUSE_HOST, MEDALLION_CLICKHOUSE_HTTP_PORT and MEDALLION_CLICKHOUSE_PASSWORD."
            )
            raise HotStoreError(message) from error
        self._column_types: dict[str, Mapping[str, str]] = {}

    def rows(self, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
        try:
            result = self._client.query(sql, parameters=server_side(sql, parameters), settings=_QUERY_SETTINGS)
        except ClickHouseError as error:
            raise HotStoreError(_explain(error, sql)) from error
        return list(result.named_results())

    def column_types(self, select: str, parameters: Parameters) -> Mapping[str, str]:
        if select not in self._column_types:
            described = self.rows(render("describe.sql", select=select), parameters)
            self._column_types[select] = {row["name"]: row["type"] for row in described}
        return self._column_types[select]

    def command(self, sql: str, parameters: Parameters) -> None:
        try:
            self._client.command(sql, parameters=server_side(sql, parameters))
        except ClickHouseError as error:
            raise HotStoreError(_explain(error, sql)) from error

    def insert(self, table: str, rows: pa.Table) -> None:
        try:
            insert_arrow(self._client, table, rows, _INSERT_SETTINGS)
        except ClickHouseError as error:
            raise HotStoreError(f"ClickHouse refused rows for {table}: {error}") from error

    def at(self, host: str, database: str) -> ClickHouseHttp:
        return ClickHouseHttp(
            self._settings.model_copy(update={"clickhouse_host": host, "clickhouse_database": database})
        )

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        try:
            stream = self._client.raw_stream(
                sql, parameters=server_side(sql, parameters), settings=_EXPORT_SETTINGS, fmt="Parquet"
            )
        except ClickHouseError as error:
            raise HotStoreError(_explain(error, sql)) from error
        try:
            yield iter(lambda: stream.read(CHUNK_BYTES), b"")
        except HTTPError as error:
            raise HotStoreError(f"ClickHouse ended a result half-way: {error}. Run the same command again.") from error
        finally:
            stream.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def server_side(sql: str, parameters: Parameters) -> dict[str, Any] | None:
    """The parameters that `sql` names as `{name:Type}`; the server fills them in. None if there are none.

    If others were passed, clickhouse-connect would format the text itself and fail at a per-cent sign, as in a path.
    """
    return {name: value for name, value in parameters.items() if f"{{{name}:" in sql} or None


def _explain(error: ClickHouseError, sql: str) -> str:
    subject = next((line[3:] for line in sql.splitlines() if line.startswith("-- ")), sql[:80])
    return f"ClickHouse refused '{subject}': {error}. Is the schema up to date (`medallion ddl status`)?"
