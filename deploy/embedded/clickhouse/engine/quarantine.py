"""Moves aside the metadata of tables that keep the engine from opening its store.

`CREATE TABLE … ENGINE = Kafka` fails inside chDB, but leaves a file of metadata. Because of it chDB refuses the whole
store at the next start. The file is moved, not deleted, so the statement can still be read. The table has no rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.sql.outside import BROKER_ENGINES
from deploy.embedded.clickhouse.sql.tokens import scan

FOLDER = "quarantine"


def quarantine(store: Path) -> Iterator[dict[str, str]]:
    """Move such metadata to `quarantine` in the store. Call it before the engine opens the store.

    Yields:
        for each moved file: `metadata` (its old path), `moved_to` and `engine`.

    Raises:
        OSError: a file cannot be read or moved.
    """
    # A database's folder in metadata/ is a link to store/abc/abcdef…, in older stores an ordinary folder.
    for file in sorted({file.resolve() for file in (*store.glob("store/*/*/*.sql"), *store.glob("metadata/*/*.sql"))}):
        engine = _engine(file.read_text(encoding="utf-8", errors="surrogateescape"))
        if engine.upper() not in BROKER_ENGINES:
            continue
        folder = store / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / f"{file.parent.name}-{file.name}"
        os.replace(file, target)  # noqa: PTH105 - a file name that need not be UTF-8
        yield {"metadata": str(file), "moved_to": str(target), "engine": engine}


def _engine(statement: str) -> str:
    """The table engine that a metadata file names; "" if it names none or is not a statement."""
    try:
        tokens = list(scan(statement))
    except EngineError:
        return ""
    for index, token in enumerate(tokens[:-2]):
        if token.upper == "ENGINE" and tokens[index + 1].text == "=":
            return tokens[index + 2].name
    return ""
