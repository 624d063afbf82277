"""Runs the commands' SQL files with parameters; results are rows with named columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cli.common.context import server_error
from config.connections import clickhouse_http
from config.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver import Client

FOLDER = Path(__file__).parents[1] / "sql"
# Texts come as bytes, since a message need not be UTF-8.
_ARROW = {"output_format_arrow_string_as_string": 0, "output_format_arrow_compression_method": "none"}


@contextmanager
def http_client(settings: Settings) -> Iterator[Client]:
    """An HTTP client for the pipeline's database. This protocol has server-side parameters.

    Raises:
        ServerError: the client's errors inside the `with` block. All other errors pass: they are not ClickHouse's.
    """
    import clickhouse_connect  # noqa: PLC0415 - takes a second, which most commands need not wait
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        client = clickhouse_connect.get_client(**clickhouse_http(settings))
        with closing(client):
            yield client
    # The client's connections are urllib3's, which turns every error of a socket into one of its own.
    except (ClickHouseError, HTTPError) as error:
        address = f"{settings.clickhouse_host}:{settings.clickhouse_http_port}"
        raise server_error(address, error) from error


def sql_text(name: str) -> str:
    """The text of `cli/sql/<name>.sql`."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def rows(client: Client, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    """The rows of `cli/sql/<name>.sql`, column name → value; times aware, texts that are not UTF-8 as bytes."""
    body = client.raw_query(sql_text(name), parameters=dict(parameters), fmt="ArrowStream", settings=_ARROW)
    found = pa.ipc.open_stream(body).read_all().to_pylist()
    return [{column: _readable(value) for column, value in row.items()} for row in found]


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value
