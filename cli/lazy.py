"""Commands that are imported when they are called: `medallion query` need not load the Iceberg libraries."""

from __future__ import annotations

import importlib
from typing import Any

import typer
import typer.core
import typer.main

# Command → where it is: a function is a command, a Typer application a group of them. The order is that of `--help`.
COMMANDS = {
    "demo": "cli.demo:demo",
    "up": "cli.stack.commands:up",
    "status": "cli.stack.commands:status",
    "down": "cli.stack.commands:down",
    "serve": "cli.stack.serve:serve",
    "produce": "cli.messages.feed:produce",
    "replay": "cli.messages.feed:replay",
    "backfill": "cli.messages.backfill:backfill",
    "drain": "cli.messages.query:drain",
    "smoke": "cli.stack.smoke:smoke",
    "alert": "cli.stack.alerts:app",
    "query": "cli.messages.query:query",
    "ddl": "cli.migrations:app",
    "dlq": "cli.dlq.commands:app",
    "offload": "cli.cold.offload:offload_app",
    "lineage": "cli.cold.lineage:app",
    "pin": "cli.cold.pins:app",
    "rederive": "cli.cold.rederive:rederive",
    "symbols": "cli.messages.symbols:app",
}


class LazyGroup(typer.core.TyperGroup):
    """The top-level group; loads a command's module when the command is looked up."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None for a name that is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(pretty_exceptions_enable=False)
            single.command(cmd_name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command
