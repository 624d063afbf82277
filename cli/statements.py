"""The commands' own SQL files, run with parameters and read as rows of named columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickhouse_driver import Client

FOLDER = Path(__file__).with_name("sql")


def text(name: str) -> str:
    """The text of `cli/sql/<name>.sql`."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def rows(client: Client, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    """The rows of `cli/sql/<name>.sql`, column name → value."""
    data, columns = client.execute(text(name), dict(parameters), with_column_types=True)
    names = [column for column, _ in columns]
    return [dict(zip(names, row, strict=True)) for row in data]
