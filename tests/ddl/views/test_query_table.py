"""Invariant: what `medallion query` shows on a terminal has every digit and every name, however narrow it is."""

from __future__ import annotations

from collections import Counter

import pytest

from cli.messages.query import TABLE_FORMAT, table_settings
from tests.ddl.engine import Engine

NAMES = [f"a_name_that_is_rather_long_{letter}" for letter in "abcdefgh"]
VALUE = "12345678901234567.123456789012345678"


def shown(engine: Engine, width: int, rows: int) -> list[str]:
    columns = ", ".join(f"toDecimal128('{VALUE}', 18) AS {name}" for name in NAMES)
    settings = ", ".join(f"{name} = {value}" for name, value in table_settings(width).items())
    answer = engine.query(f"SELECT {columns} FROM numbers({rows}) SETTINGS {settings}", TABLE_FORMAT)
    return answer.decode().splitlines()


@pytest.mark.parametrize(("width", "is_table"), [(20, False), (80, False), (160, False), (400, True)])
def test_a_table_wider_than_the_terminal_goes_vertical(engine: Engine, width: int, is_table: bool) -> None:
    lines = shown(engine, width, 3)
    words = Counter(word.rstrip(":") for line in lines for word in line.replace("│", " ").replace("─", " ").split())
    assert words[VALUE] == 3 * len(NAMES)
    assert all(name in "".join(lines) for name in NAMES)
    assert any("┌" in line for line in lines) == is_table
