"""A running embedded stack whose symbols file a test may change, and the `medallion` command beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import command
from tests.stack.conftest import applied, clean_environment

__all__ = ["applied"]  # a folder with every migration


@dataclass
class Running:
    """A stack on `folder` that validates by `symbols`."""

    folder: Path
    symbols: Path
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`medallion …`, which must end with `code`."""
        environment = {**clean_environment(self.home), "MEDALLION_SYMBOLS_FILE": str(self.symbols), **self.settings}
        done = command.run([*map(str, arguments), "--data-dir", str(self.folder)], environment, 180)
        assert done.returncode == code, f"medallion {arguments} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """The answer of `medallion … --json`."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a SELECT."""
        lines = self.run("query", sql, "--format", "JSONEachRow").stdout.splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def running(tmp_path: Path, applied: Path) -> Iterator[Running]:
    """A fresh stack; it validates by a copy of the shipped symbols file."""
    with started(tmp_path, applied) as stack:
        yield stack


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, applied: Path) -> Iterator[Running]:
    """Such a stack for all tests of a module: each looks at its own messages, and leaves the symbols as they were."""
    with started(tmp_path_factory.mktemp("shared"), applied) as stack:
        yield stack


@contextmanager
def started(folder: Path, applied: Path) -> Iterator[Running]:
    symbols = folder / "symbols.yaml"
    shipped = Path(__file__).resolve().parents[2] / "config" / "symbols.yaml"
    symbols.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    stack = Running(shutil.copytree(applied, folder / "stack", symlinks=True), symbols, folder / "home")
    stack.run("up", "--detach")
    try:
        yield stack
    finally:
        stack.run("down", "--timeout", "0")
