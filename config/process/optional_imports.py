"""Keeps a process from importing packages that are installed but not needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# PyArrow and chDB import pandas where it is installed, though nothing here uses it: 0.4 s of CPU and 50 MB a process.
PANDAS = "pandas"
# structlog imports Rich where it is installed, though no log line is drawn by it: 0.1 s of CPU a process.
RICH = "rich"


class _Absent(MetaPathFinder):
    """An import finder for which its packages are not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname in self.packages:
            raise ModuleNotFoundError(f"No module named {fullname!r}: this process does without it.", name=fullname)
        return None


def do_without(*packages: str) -> None:
    """Make later imports of these top-level packages fail with ModuleNotFoundError, in this process only."""
    sys.meta_path.insert(0, _Absent(packages))


def do_with(*packages: str) -> None:
    """Undo `do_without`, before the import of a module that needs these packages."""
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if not (isinstance(finder, _Absent) and finder.packages & {*packages})
    ]
