"""Invariant: every command that a runbook shows with its output does that, in that order, on one embedded stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Command, matches, session, shell
from tests.docs.conftest import RUNBOOKS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]
END = "<<end of output>>"
# Many commands say so of the stack of this test, which has offloaded nothing. An operator's has.
NOTICE = "Nothing is in Iceberg yet: there are no cold tables. `medallion offload run` makes them."


class Shell:
    """One bash, so that what a runbook exports is there in the next block; commands run in a folder of their own."""

    def __init__(self, folder: Path, root: Path) -> None:
        (folder / "bin").mkdir()
        program = folder / "bin" / "medallion"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
        program.chmod(0o755)
        for name in ("config", "tests"):
            (folder / name).symlink_to(root / name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={
                **kept,
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(root),
                "XDG_STATE_HOME": str(folder / "state"),
                "COLUMNS": "200",
                "MEDALLION_NATIVE_PORT": "0",
                "MEDALLION_HTTP_PORT": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and everything printed."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{command} </dev/null\nprintf '\\n%s %s\\n' '{END}' $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(END):
                return int(line.removeprefix(END)), "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended at {command}")

    def close(self) -> None:
        self.run("medallion down --timeout 0")
        self._bash.communicate("exit\n")


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Shell]:
    started = Shell(tmp_path_factory.mktemp("operator"), root)
    yield started
    started.close()


@pytest.mark.nightly
def test_every_command_does_what_its_runbook_shows(bash: Shell, root: Path) -> None:
    commands = [command for path in RUNBOOKS for command in session(path, root)]
    assert len(commands) > 60
    faults = [fault for command in commands if (fault := fault_of(bash, command))]
    assert not faults, "\n\n".join(faults)


@pytest.mark.nightly
def test_the_readme_does_what_it_says(tmp_path: Path, root: Path) -> None:
    """Its block of usage, in which a `make` target stands for what the Makefile does."""
    makefile = (root / "Makefile").read_text()
    bash = Shell(tmp_path, root)
    try:
        commands = list(shell(root / "README.md", root))
        first = [command.text for command in commands].index("make up")
        last = [command.text for command in commands].index("medallion status", first)
        usage = [command for command in commands[first : last + 1] if not command.text.startswith("source")]
        assert len(usage) > 8
        for command in usage:
            recipe = re.search(rf"^{command.text.removeprefix('make ')}:.*\n\t\$\(BIN\)/(.*)$", makefile, re.MULTILINE)
            text = recipe[1] if command.text.startswith("make ") and recipe else command.text
            code, printed = bash.run(text)
            assert code == 0, f"{command} → {code}\n{printed}"
    finally:
        bash.close()


def fault_of(bash: Shell, command: Command) -> str:
    """What is not as the runbook says; a command that fails ends the session, since others rest on it."""
    code, printed = bash.run(command.text)
    printed = printed.removeprefix(f"{NOTICE}\n")
    assert code == 0, f"{command} → {code}\n{printed}"
    if matches(command.shown or "", printed):
        return ""
    return f"{command}\nshown:\n{command.shown}\nprinted:\n{printed}"
