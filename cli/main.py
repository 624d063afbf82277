"""The `medallion` command: its subcommands, and how errors become a message and an exit code.

A subcommand is imported when it is called, so that `medallion query` need not load the Iceberg libraries.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from typing import Any

import typer
import typer.core
import typer.main
from pydantic import ValidationError

from cli.common.console import SafeConsole
from cli.common.work import StoppedError, explained
from config.disks import no_space
from config.errors import MedallionError
from config.optional_imports import PANDAS, do_without

# The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT.
CTRL_C = 130
# Command → its function, or the Typer application of a group of commands. The order is that of `--help`.
COMMANDS = {
    "demo": "cli.demo:demo",
    "up": "cli.stack.commands:up",
    "status": "cli.stack.commands:status",
    "down": "cli.stack.commands:down",
    "doctor": "cli.stack.doctor.command:doctor",
    "serve": "cli.stack.serve:serve",
    "produce": "cli.messages.feed:produce",
    "replay": "cli.messages.feed:replay",
    "backfill": "cli.messages.backfill:backfill",
    "coverage": "cli.coverage.command:coverage",
    "drain": "cli.messages.query:drain",
    "smoke": "cli.stack.smoke:smoke",
    "alert": "cli.stack.alerts:app",
    "query": "cli.messages.query:query",
    "chart": "cli.chart.command:chart",
    "ddl": "cli.migrations:app",
    "dlq": "cli.dlq.commands:app",
    "offload": "cli.cold.offload:offload_app",
    "lineage": "cli.cold.lineage:app",
    "pin": "cli.cold.pins:app",
    "rederive": "cli.cold.rederive:rederive",
    "symbols": "cli.messages.symbols:app",
    "series": "cli.messages.series:app",
    "schedule": "cli.messages.schedule:app",
    "quality": "cli.messages.quality:app",
}


class LazyGroup(typer.core.TyperGroup):
    """The top-level group; loads a command's module when the command is looked up."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def invoke(self, ctx: Any) -> Any:
        """Run a command. If it has no message of its own for Ctrl-C, Ctrl-C ends it with this one."""
        with explained(lambda: "The command did not end: run it again."):
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None for a name that is none."""
        del ctx
        return _command(cmd_name) if cmd_name in COMMANDS else None


@functools.cache
def _command(name: str) -> Any:
    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(pretty_exceptions_enable=False)
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


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
    """Run the command line; an expected failure is one line on standard error and exit code 1, after Ctrl-C 130."""
    do_without(PANDAS)
    console = SafeConsole(stderr=True, soft_wrap=True)
    try:
        app()
    except StoppedError as stopped:
        console.print(str(stopped), style="yellow")
        sys.exit(CTRL_C)
    except MedallionError as error:
        console.print(f"error: {_full_disk(error) or error}", style="red")
        sys.exit(1)
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(str(part) for part in fault["loc"]).upper()
            console.print(f"error: {f'MEDALLION_{name}: ' if name else ''}{fault['msg']}", style="red")
        sys.exit(2)
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        # A path of the command line or of a setting: each command opens its own files.
        console.print(f"error: {error.filename}: {error.strerror}: give another path", style="red")
        sys.exit(1)
    except Exception as error:
        explained_disk = _full_disk(error)
        if not explained_disk:
            raise
        console.print(f"error: {explained_disk}", style="red")
        sys.exit(1)


def _full_disk(error: Exception) -> str:
    """What is said instead of a failure behind which a full disk is; "" for any other failure."""
    cause = no_space(error)
    if cause is None:
        return ""
    logging.getLogger(__name__).debug("a full disk stopped the command", exc_info=error)
    from cli.common.disks import explain_full_disk  # noqa: PLC0415  # it knows of stacks, which most commands do without

    return explain_full_disk(cause)
