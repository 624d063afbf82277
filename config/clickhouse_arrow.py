"""Arrow tables to and from ClickHouse over HTTP, for every clickhouse-connect client of the product.

Each room opens its own client, since rooms differ in what happens when the server does not answer. None of these
functions repeats a request or changes an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from clickhouse_connect.driver import Client


def arrow_settings(*, text: bool) -> dict[str, Any]:
    """Settings of a result in Arrow: without compression; `text=False` returns String columns as bytes."""
    return {"output_format_arrow_string_as_string": int(text), "output_format_arrow_compression_method": "none"}


def insert_once_settings(token: str) -> dict[str, Any]:
    """Settings of an insert that, repeated with the same token and rows, adds nothing or completes what was cut off."""
    return {
        "deduplicate_insert": "enable",
        "insert_deduplication_token": token,
        "deduplicate_blocks_in_dependent_materialized_views": 1,
        "max_partitions_per_insert_block": 0,
        "async_insert": 0,
    }


def select_arrow(client: Client, sql: str, parameters: Mapping[str, Any], *, text: bool = True) -> pa.Table:
    """The result of a query; the server fills in the parameters. `text=False` returns String columns as bytes.

    Raises:
        ClickHouseError, HTTPError, OSError: from the client.
    """
    body = client.raw_query(sql, parameters=dict(parameters), fmt="ArrowStream", settings=arrow_settings(text=text))
    return pa.ipc.open_stream(body).read_all()


def insert_arrow(client: Client, table: str, rows: pa.Table, settings: Mapping[str, Any]) -> None:
    """Insert rows, columns by name.

    Raises:
        ClickHouseError, HTTPError, OSError: from the client.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    body = sink.getvalue()
    client.raw_insert(table, rows.column_names, insert_block=body, settings=dict(settings), fmt="ArrowStream")
