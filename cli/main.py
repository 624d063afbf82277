"""The `medallion` command: one entry point, errors that say what to do next, honest exit codes."""

from __future__ import annotations

import sys

import typer
from ccxt import BaseError
from clickhouse_driver.errors import Error as ClickHouseError
from pydantic import ValidationError

from cli import cold, demo, dlq, feed, migrations, query, stack, symbols
from cli.context import err
from cli.lag import LagError
from config.registry import RegistryError
from config.symbols_build import UnknownSourceError
from ddl.errors import DriftError, MigrationError
from deploy.embedded.layout import StackError
from offload.errors import OffloadError
from producers.exchanges import UnknownExchangeError
from producers.publisher import PublishError
from producers.recording import RecordingError
from producers.schedule import SpeedError

app = typer.Typer(
    name="medallion",
    help="Crypto trades from exchange WebSockets to Raw, Bronze, Silver and Gold in ClickHouse, and to Iceberg.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(query.query)
app.command()(demo.demo)
app.command()(feed.produce)
app.command()(feed.replay)
app.command()(query.drain)
app.add_typer(migrations.app, name="ddl")
app.add_typer(dlq.app, name="dlq")
app.add_typer(cold.offload_app, name="offload")
app.add_typer(cold.lineage_app, name="lineage")
app.add_typer(symbols.app, name="symbols")

EXPECTED_ERRORS = (
    StackError,
    LagError,
    query.QueryError,
    cold.ProofError,
    demo.DemoError,
    DriftError,
    MigrationError,
    OffloadError,
    PublishError,
    RecordingError,
    RegistryError,
    SpeedError,
    UnknownExchangeError,
    UnknownSourceError,
    ClickHouseError,
    BaseError,
)


def main() -> None:
    """Run the command line; an expected failure is one line on standard error and exit code 1."""
    try:
        app()
    except EXPECTED_ERRORS as error:
        err.print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(str(part) for part in fault["loc"]).upper()
            err.print(f"[red]error:[/red] MEDALLION_{name}: {fault['msg']}", soft_wrap=True, highlight=False)
        sys.exit(2)
