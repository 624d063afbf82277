"""Invariant: `medallion --help` and the shell's completion say what each command says, and import none of them."""

from __future__ import annotations

import inspect
import subprocess
import sys

import typer

from cli.main import COMMANDS, app

LISTED = """
import sys
from typer.testing import CliRunner
from cli.main import COMMANDS, app
done = CliRunner().invoke(app, ["--help"])
assert done.exit_code == 0 and all(name in done.output for name in COMMANDS), done.output
asked = {"_MEDALLION_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "medallion off"}
done = CliRunner().invoke(app, [], prog_name="medallion", env=asked)
assert "Hot rows to Iceberg." in done.output, done.output
print(*sorted({where.partition(":")[0] for where, _ in COMMANDS.values()} & {*sys.modules}))
"""


def test_the_list_says_what_each_command_says() -> None:
    group = typer.main.get_command(app)
    with typer.Context(group) as context:
        said = {name: group.resolve_command(context, [name])[1] for name in COMMANDS}
    first = {name: inspect.cleandoc(command.help).split("\n\n")[0] for name, command in said.items()}
    assert {name: text for name, (_, text) in COMMANDS.items()} == {
        name: text.replace("\n", " ") for name, text in first.items()
    }


def test_listing_the_commands_imports_none_of_them() -> None:
    done = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stdout + done.stderr
