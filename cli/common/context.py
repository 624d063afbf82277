"""Shared by all commands: the settings of the stack, the client, and how results are printed."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from pydantic import BaseModel, SecretStr

from cli.common.console import SafeConsole
from cli.common.server_errors import code_of, remedy
from config.clickhouse_ping import PING_S
from config.connections import clickhouse_native
from config.errors import MedallionError
from config.settings import Settings
from deploy.embedded import control

if TYPE_CHECKING:
    from clickhouse_driver import Client

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="MEDALLION_DATA_DIR",
        help="Folder of the embedded stack; without it the MEDALLION_… endpoints, else the one stack that runs.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output for another program.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without this the command only says what it would do.")]

# Where a process serves its own metrics: from the caller's environment, not from the stack's.
_OWN_VARIABLES = ("MEDALLION_METRICS_HOST", "MEDALLION_METRICS_PORT")
ENDPOINT_VARIABLES = ("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", "MEDALLION_CLICKHOUSE_HOST")

# Without a terminal the width is unknown. 80 columns would fold every table.
PIPE_WIDTH = 160
out = SafeConsole(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)
err = SafeConsole(stderr=True)


def deployed() -> bool:
    """Whether the environment names the endpoints of a deployed stack."""
    return any(name in os.environ for name in ENDPOINT_VARIABLES)


def load_settings(data_dir: Path | None) -> Settings:
    """The settings of the stack that a command uses.

    Raises:
        StackError: no embedded stack runs and no endpoint is set in the environment.
        pydantic.ValidationError: a setting is out of range.
    """
    if data_dir is None and deployed():
        return Settings()
    own = {name: os.environ[name] for name in _OWN_VARIABLES if name in os.environ}
    return Settings.from_environment(control.find(data_dir).environment | own)


_START = "`medallion status` shows whether the stack runs, `medallion up` starts it"
_OUR_STATEMENT = "`medallion ddl status` shows whether the schema is up to date."


class ServerError(MedallionError):
    """ClickHouse refused a statement or does not answer."""


def server_error(address: str, error: Exception) -> ServerError:
    """What a command says where ClickHouse refuses a statement of ours, or does not answer at `address`."""
    code = code_of(str(error))
    if code is None:
        return ServerError(f"ClickHouse at {address} does not answer: {_START}. ({error})")
    return ServerError(f"ClickHouse at {address}: {error}. {remedy(code, _OUR_STATEMENT)}")


@contextmanager
def clickhouse(settings: Settings, database: str | None = None) -> Iterator[Client]:
    """A native-protocol client on the pipeline's database, or another one where that need not exist yet.

    Raises:
        ServerError: whatever the client raises inside the `with` block.
    """
    # Takes 26 MB, which a producer does not need.
    from clickhouse_driver import Client  # noqa: PLC0415
    from clickhouse_driver.errors import Error as ClientError  # noqa: PLC0415
    from clickhouse_driver.errors import NetworkError, SocketTimeoutError  # noqa: PLC0415

    client = Client(**clickhouse_native(settings), database=database or settings.clickhouse_database)
    address = f"{settings.clickhouse_host}:{settings.clickhouse_port}"
    try:
        # A server that takes the connection and says nothing is given up sooner than a long statement.
        patience_s, client.connection.send_receive_timeout = client.connection.send_receive_timeout, PING_S
        client.connection.connect()
        client.connection.send_receive_timeout = patience_s
        client.connection.socket.settimeout(patience_s)
        yield client
    except (NetworkError, SocketTimeoutError, EOFError) as error:
        raise ServerError(f"ClickHouse at {address} does not answer: {_START}. ({error})") from error
    except ClientError as error:
        raise server_error(address, error) from error
    finally:
        client.disconnect()


def print_json(value: object) -> None:
    """`value` as one JSON document on standard output; times in RFC 3339 UTC, decimals as text."""
    sys.stdout.buffer.write(orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Decimal | Path | SecretStr):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    raise TypeError(f"{type(value).__name__} has no JSON form here: add one to cli.common.context._plain")


def counted(counts: Mapping[str, int]) -> str:
    """As `equal 1,440, gap 2`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing") -> None:
    """Print a table on standard output (`SafeConsole.print_table`)."""
    out.print_table(title, columns, rows, empty)
