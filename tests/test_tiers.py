"""Each invariant's tests, as README.md beside this file names them, are there and in the fast tier."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
NAMED = re.compile(r"`(\S+\.py)::(\w+)`")


def test_what_the_readme_names_is_in_the_fast_tier() -> None:
    named = NAMED.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    for file, name in named:
        tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        assert found, f"{file} has no {name}"
        marks = [ast.unparse(decorator) for decorator in found[0].decorator_list]
        assert "pytest.mark.nightly" not in marks, f"{file}: {name} is nightly"
