"""Every package that a product module imports is declared in pyproject.toml, not only brought by another package."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = PROJECT["tool"]["importlinter"]["root_packages"]


def normalised(name: str) -> str:
    """As packaging.python.org/en/latest/specifications/name-normalization defines it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_every_imported_package_is_declared() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [PROJECT["project"]["dependencies"], *(extras[name] for name in extras if name != "dev")]
    declared = {normalised(re.split(r"[\[<>=! ;]", line)[0]) for lines in wanted for line in lines}
    # A package of an extra that is not installed here has the name of its module.
    providers = packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)}: {module}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for module in imported(path)
        if module not in sys.stdlib_module_names and module not in ROOMS
        if not declared & {normalised(name) for name in providers.get(module, [module])}
    }
    assert not missing
