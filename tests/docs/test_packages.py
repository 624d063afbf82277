"""Invariant: every folder of the product says what it is for and what it may import."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from tests.docs.conftest import ROOT

PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
FOLDERS = [str(path.parent.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")]


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_says_what_it_may_import(folder: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert re.search(r"\b(?:may import|imports?)\b", said, re.IGNORECASE), said
