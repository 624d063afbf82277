"""Invariant: code names a SQL file of a room without its folder; there is one such file, in the room that uses it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from ddl.render import MIGRATIONS_FOLDER

ROOT = Path(__file__).resolve().parents[2]
SHARED = [path.name for path in MIGRATIONS_FOLDER.glob("_*.sql")]


@pytest.mark.parametrize("package", ["offload", "serving", "cli"])
def test_a_name_is_one_file(package: str) -> None:
    names = [path.name for path in (ROOT / package).glob("**/sql/*.sql")]
    assert names
    assert {name for name, count in Counter(names + SHARED).items() if count > 1} == set()


@pytest.mark.parametrize("package", ["offload", "serving", "cli"])
def test_a_file_is_in_the_room_that_uses_it(package: str) -> None:
    """Where several rooms use a file, it may be in a room before them."""
    texts = {
        user: user.read_text(encoding="utf-8") for kind in ("py", "sql") for user in (ROOT / package).rglob(f"*.{kind}")
    }
    misplaced = []
    for path in (ROOT / package).glob("**/sql/*.sql"):
        named = re.compile(rf"""["']{re.escape(path.stem)}(?:\.sql)?["']""")
        users = [user for user, text in texts.items() if named.search(text)]
        room = path.parents[1]
        rooms = {user.parent if user.suffix == ".py" else user.parents[1] for user in users}
        if room not in rooms and len(rooms) < 2:
            misplaced.append((str(path.relative_to(ROOT)), sorted(map(str, rooms))))
    assert misplaced == []
