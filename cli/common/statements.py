"""Runs the SQL files of the commands with parameters, and returns rows with named columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.common.context import ServerError, server_error
from config.clickhouse_arrow import select_arrow
from config.clickhouse_ping import SilentServerError, check_answers
from config.connections import clickhouse_http
from config.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver import Client

_CLI = Path(__file__).parents[1]


@contextmanager
def http_client(settings: Settings) -> Iterator[Client]:
    """An HTTP client for the pipeline's database. This protocol has server-side parameters.

    For commands: nothing is repeated, and a server that does not answer ends the command with a message.

    Raises:
        ServerError: the server does not answer, or the client's errors inside the `with` block. All other errors pass:
            they are not ClickHouse's.
    """
    import clickhouse_connect  # noqa: PLC0415 - takes a second, which most commands need not wait
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        check_answers(settings)
        client = clickhouse_connect.get_client(**clickhouse_http(settings))
        with closing(client):
            yield client
    except SilentServerError as error:
        raise ServerError(str(error)) from error
    # The client's connections are urllib3's, which turns every error of a socket into one of its own.
    except (ClickHouseError, HTTPError) as error:
        address = f"{settings.clickhouse_host}:{settings.clickhouse_http_port}"
        raise server_error(address, error) from error


def sql_text(name: str) -> str:
    """The text of `sql/<name>.sql`, from whichever room of the command line has it."""
    return _files()[name].read_text(encoding="utf-8")


@cache
def _files() -> dict[str, Path]:
    """The SQL files of all rooms by their names, of which no two are equal."""
    return {path.stem: path for path in _CLI.glob("**/sql/*.sql")}


def rows(client: Client, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    """The rows of a room's `sql/<name>.sql`, column name → value; times aware, texts that are not UTF-8 as bytes."""
    # Texts come as bytes, since a message need not be UTF-8.
    found = select_arrow(client, sql_text(name), parameters, text=False).to_pylist()
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
