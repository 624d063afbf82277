"""Shared by all commands: the settings of the stack, the client, and how results are printed."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from pydantic import BaseModel, SecretStr
from rich import box
from rich.measure import Measurement
from rich.table import Table

from cli.common.console import SafeConsole
from config.connections import clickhouse_native
from config.errors import MedallionError
from config.settings import Settings
from config.visible import visible_line
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

ENDPOINT_VARIABLES = ("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", "MEDALLION_CLICKHOUSE_HOST")

# Without a terminal the width is unknown. 80 columns would fold every table.
PIPE_WIDTH = 160
# A table is measured with this width, to find the width it needs.
_ANY_WIDTH = 10_000
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
    return Settings.from_environment(control.find(data_dir).environment)


class ServerError(MedallionError):
    """ClickHouse refused a statement or does not answer."""


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
        yield client
    except (NetworkError, SocketTimeoutError, EOFError) as error:
        raise ServerError(f"ClickHouse at {address} does not answer: see `medallion status`. ({error})") from error
    except ClientError as error:
        raise ServerError(f"ClickHouse at {address}: {error}") from error
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


_BLANKS = {" ": "␣"}


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing") -> None:
    """Print a table for people, numbers to the right. In a narrow terminal each row is a block of lines."""
    rows = list(rows)
    if not rows:
        out.print(f"{title}: {empty}")
        return
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        number = all(isinstance(row[index], int | float | Decimal) for row in rows)
        table.add_column(
            name,
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number,
            min_width=max(map(len, name.split()), default=0),
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if Measurement.get(out, out.options.update(max_width=_ANY_WIDTH), table).minimum <= out.width:
        out.print(table)
        return
    out.print(f"{title}:")
    longest = max(map(len, columns))
    for row in rows:
        out.print()
        for name, value in zip(columns, row, strict=True):
            out.print(f"  {name:<{longest}}  {_cell(value)}", soft_wrap=True)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else shown(str(value))


def shown(text: str) -> str:
    """`text` on one line, hidden characters and blanks at the ends visible: `BTCUSDT␣` is not `BTCUSDT`."""
    text = visible_line(text)
    core = text.strip()
    if len(core) == len(text):
        return text
    start = len(text) - len(text.lstrip())
    ends = text[:start], text[start + len(core) :]
    before, after = ("".join(_BLANKS.get(one, ascii(one)[1:-1]) for one in end) for end in ends)
    return before + core + after
