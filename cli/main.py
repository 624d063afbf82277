"""The `medallion` command: one entry point, errors that say what to do next, honest exit codes."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError

from cli import query, stack
from cli.context import err
from cli.lag import LagError
from deploy.embedded.layout import StackError

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
app.command()(query.drain)

EXPECTED_ERRORS = (StackError, LagError, query.QueryError)


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
