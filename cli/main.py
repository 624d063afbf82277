"""The `medallion` command: one entry point, errors that say what to do next, honest exit codes."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError

from cli.common.console import SafeConsole
from cli.lazy import LazyGroup
from config.disks import is_no_space
from config.errors import MedallionError

app = typer.Typer(
    name="medallion",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def medallion() -> None:
    """Crypto trades from exchange WebSockets to Raw, Bronze, Silver and Gold in ClickHouse, and to Iceberg."""


def main() -> None:
    """Run the command line; an expected failure is one line on standard error and exit code 1."""
    console = SafeConsole(stderr=True, soft_wrap=True)
    try:
        app()
    except MedallionError as error:
        console.print(f"error: {error}{_full_disk(error)}", style="red")
        sys.exit(1)
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(str(part) for part in fault["loc"]).upper()
            console.print(f"error: {f'MEDALLION_{name}: ' if name else ''}{fault['msg']}", style="red")
        sys.exit(2)
    except Exception as error:
        if not is_no_space(error):
            raise
        console.print(f"error:{_full_disk(error)}", style="red")
        sys.exit(1)


def _full_disk(error: Exception) -> str:
    """What is added where a full disk is behind a failure."""
    if not is_no_space(error):
        return ""
    from cli.common.disks import explain_full_disk  # noqa: PLC0415  # it knows of stacks, which most commands do without

    return f" {explained(error)}"
