"""The documents that are held against the product."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In the order in which a newcomer would go through them; README.md of the folder has the same.
RUNBOOKS = tuple(ROOT / "docs" / "runbooks" / name for name in ("operate.md", "alerts.md", "change.md", "disaster.md"))
DOCUMENTS = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "ddl" / "README.md",
    ROOT / "deploy" / "compose" / "README.md",
)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
