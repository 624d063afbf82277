"""One engine for all; a database of all migrations, empty for each module, and a new one where a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from config.settings import Settings
from ddl.quoting import quote_string
from ddl.render import render
from ddl.runner import apply
from ddl.statements import MigrationStatement
from tests.clickhouse import REFRESHING
from tests.ddl.engine import Engine

_numbers = count(1)
_waiting: list[Settings] = []


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    with Engine(folder) as started:
        yield started


@pytest.fixture(scope="module")
def warehouse(engine: Engine) -> Iterator[Settings]:
    """A database with every migration, shared by the tests of a module.

    The next module gets it empty, unless a test has changed what the migrations made: all of them cost three seconds.
    """
    settings = _waiting.pop() if _waiting else make_warehouse(engine)
    made, kept = _definitions(engine, settings), _filled(engine, settings)
    yield settings
    if _definitions(engine, settings) != made:
        return
    for table in _filled(engine, settings) - kept:
        engine.execute(f"TRUNCATE TABLE {settings.clickhouse_database}.{table} SYNC")
    _waiting.append(settings)


def hand_on(settings: Settings) -> None:
    """Let the next module have this database, which has every migration and no row."""
    _waiting.append(settings)


def make_warehouse(engine: Engine, **changes: object) -> Settings:
    """A new database with every migration applied."""
    settings = Settings(clickhouse_database=f"warehouse_{next(_numbers)}", **changes)  # type: ignore[arg-type]
    apply(engine, settings)
    return settings


def core(settings: Settings) -> list[MigrationStatement]:
    """Without the series, whose objects are of the same kinds and take half of the time."""
    return [statement for statement in render(settings) if statement.migration < "0030"]


def _definitions(engine: Engine, settings: Settings) -> dict[str, str]:
    database = quote_string(settings.clickhouse_database)
    rows = engine.execute(f"SELECT name, create_table_query FROM system.tables WHERE database = {database}")
    return {name: definition for name, definition in rows if not name.startswith(REFRESHING)}


def _filled(engine: Engine, settings: Settings) -> set[str]:
    database = quote_string(settings.clickhouse_database)
    # A truncated table has inactive parts for a while.
    rows = engine.execute(
        f"SELECT DISTINCT table FROM system.parts WHERE database = {database} AND active AND rows > 0"
    )
    return {table for (table,) in rows if not table.startswith(REFRESHING)}


def refresh(engine: Engine, settings: Settings) -> None:
    """Make the copy that `latest_prices` reads."""
    view = f"{settings.clickhouse_database}.latest_prices_mv"
    for word in ("WAIT", "REFRESH", "WAIT"):
        engine.execute(f"SYSTEM {word} VIEW {view}")
