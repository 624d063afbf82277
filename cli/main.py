"""The `medallion` command: its subcommands, and how errors become a message and an exit code.

A subcommand is imported when it is called, so that `medallion query` need not load the Iceberg libraries.
"""

from __future__ import annotations

import errno
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
from config.errors import MedallionError
from config.process.disks import no_space
from config.process.optional_imports import PANDAS, do_without
from config.settings import Settings

# Command → its function, or the Typer application of a group of commands; and the first sentences of its own help, so
# that `--help` and the shell's completion import no command. The order is that of `--help`.
COMMANDS = {
    "demo": (
        "cli.demo:demo",
        "Start an empty stack, feed recorded and synthetic messages over real WebSockets, show every layer's result.",
    ),
    "up": (
        "cli.stack.commands:up",
        "Start the embedded stack: broker, ClickHouse, Silver, schedules. All of it runs on 127.0.0.1, from this "
        "Python environment.",
    ),
    "status": (
        "cli.stack.status:status",
        "Show the embedded stack's processes and endpoints, how far each consumer is behind, the rules version of "
        "each Silver worker, the live producers, and the last run of each schedule.",
    ),
    "down": (
        "cli.stack.commands:down",
        "Stop the embedded stack: let messages in flight reach their end, then end every process.",
    ),
    "doctor": (
        "cli.stack.doctor.command:doctor",
        "Check this host and the stack, before and after `up`: what is wrong, and what to do about it.",
    ),
    "serve": (
        "cli.stack.serve:serve",
        "Serve the page and Binance's REST and WebSocket interfaces until SIGTERM or Ctrl-C.",
    ),
    "produce": ("cli.messages.feed:produce", "Publish an exchange's live trades until Ctrl-C or SIGTERM, then flush."),
    "replay": (
        "cli.messages.feed:replay",
        "Publish recorded WebSocket messages through the same parser and publisher as live ones.",
    ),
    "backfill": (
        "cli.messages.backfill:backfill",
        "Publish historical trades. After an interruption, run the same command again: done parts are not read again.",
    ),
    "coverage": (
        "cli.coverage.command:coverage",
        "Show for each market and UTC day whether its trades and series are complete, partial or missing, and why.",
    ),
    "drain": (
        "cli.messages.query:drain",
        "Wait until every published message has reached its end: a Silver row, a counted duplicate or a dead letter.",
    ),
    "smoke": (
        "cli.stack.smoke:smoke",
        "Check a running stack from end to end: candles, dead letters, offload, dashboards; exit 1 if one fails.",
    ),
    "alert": ("cli.stack.alerts:app", "Test the delivery of alerts."),
    "query": ("cli.messages.query:query", "Run SQL and stream the result to standard output."),
    "chart": (
        "cli.chart.command:chart",
        "Show candles and volume of a market in the terminal, or write them as a picture.",
    ),
    "ddl": ("cli.migrations:app", "The numbered migrations in ddl/: apply, compare, show."),
    "dlq": ("cli.dlq.commands:app", "Dead letters: rejected messages and the reason of each."),
    "offload": ("cli.cold.offload:offload_app", "Hot rows to Iceberg."),
    "lineage": ("cli.cold.lineage:app", "Where every number came from."),
    "pin": ("cli.cold.pins:app", "Named versions of all cold tables, kept for good."),
    "rederive": (
        "cli.cold.rederive:rederive",
        "Validate cold Bronze again by today's registry, and replace what differs in Silver and Gold, hot and cold.",
    ),
    "symbols": ("cli.messages.symbols:app", "The symbol registry."),
    "series": (
        "cli.messages.series:app",
        "Series that venues and others publish ready-made: bars, funding rates, a sentiment index.",
    ),
    "schedule": ("cli.messages.schedule:app", "Scheduled series and quality checks."),
    "quality": ("cli.messages.quality:app", "Whether candles and series can be trusted."),
}


# What they log of a server that does not answer is in our own message. Without a handler, Python would print it, with a
# traceback.
_LIBRARIES = ("clickhouse_connect", "clickhouse_driver")
# What the system says of a path that cannot be used, whatever is done with it.
_WRONG_PATHS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
}


class LazyGroup(typer.core.TyperGroup):
    """The top-level group. It lists commands by name and help; a command's module is imported when it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: typer.core.TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As of every group. Of a text that is not UTF-8, no server, log or JSON document can be told.

        Raises:
            typer.BadParameter: an argument is not UTF-8.
        """
        for argument in args:
            try:
                argument.encode()
            except UnicodeEncodeError as error:
                shown = argument.encode(errors="surrogateescape").decode(errors="backslashreplace")
                raise typer.BadParameter(
                    f"'{shown}' is not UTF-8; a file that is called so needs another name"
                ) from error
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command. If it has no message of its own for a signal that stops it, it has this one."""
        with explained(lambda: "The command did not end: run it again."):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name, the command itself and its arguments; no command for a name that is none."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and _command(args[0]), rest


@functools.cache
def _command(name: str) -> Any:
    where, _ = COMMANDS[name]
    module, _, attribute = where.partition(":")
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
    """Run the command line; an expected failure is one line on standard error and exit code 1.

    After a signal the exit code is 128 and its number: 130 for Ctrl-C.
    """
    do_without(PANDAS)
    for library in _LIBRARIES:
        logging.getLogger(library).addHandler(logging.NullHandler())
    console = SafeConsole(stderr=True, soft_wrap=True)
    try:
        app()
    except StoppedError as stopped:
        console.print(str(stopped), style="yellow")
        sys.exit(stopped.exit_code)
    except MedallionError as error:
        console.print(f"error: {_full_disk(error) or error}", style="red")
        sys.exit(1)
    except Exception as error:
        if isinstance(error, ValidationError) and error.title == Settings.__name__:
            for fault in error.errors():
                name = "_".join(str(part) for part in fault["loc"]).upper()
                console.print(f"error: {f'MEDALLION_{name}: ' if name else ''}{fault['msg']}", style="red")
            sys.exit(2)
        explained = _full_disk(error) or _wrong_path(error) or _store(error)
        if not explained:
            raise
        console.print(f"error: {explained}", style="red")
        sys.exit(1)


def _wrong_path(error: Exception) -> str:
    """What is said of a path on the command line or in a setting that cannot be used; "" for any other failure."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _WRONG_PATHS:
        return ""
    return f"{error.filename}: {error.strerror}: give another path"


def _full_disk(error: Exception) -> str:
    """What is said instead of a failure behind which a full disk is; "" for any other failure."""
    cause = no_space(error)
    if cause is None:
        return ""
    logging.getLogger(__name__).debug("a full disk stopped the command", exc_info=error)
    from cli.common.disks import explain_full_disk  # noqa: PLC0415  # it knows of stacks, which most commands do without

    return explain_full_disk(cause)


def _store(error: Exception) -> str:
    """What is said of a failure of a file, the catalog or the bucket; "" for any other failure."""
    # Takes a second, which a command that does not fail need not wait for.
    from cli.common.cold_errors import explain_store  # noqa: PLC0415

    explained = explain_store(error)
    if explained:
        logging.getLogger(__name__).debug("a file or server stopped the command", exc_info=error)
    return explained
