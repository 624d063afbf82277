"""One engine for all; a fresh database of all migrations where a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from config.settings import Settings
from ddl.runner import apply
from tests.ddl.engine import Engine

_numbers = count(1)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    with Engine(folder) as started:
        yield started


@pytest.fixture(scope="module")
def warehouse(engine: Engine) -> Settings:
    """A database with every migration, shared by the tests of a module."""
    return make_warehouse(engine)


def make_warehouse(engine: Engine, **changes: object) -> Settings:
    """A new database with every migration applied."""
    settings = Settings(clickhouse_database=f"warehouse_{next(_numbers)}", **changes)  # type: ignore[arg-type]
    apply(engine, settings)
    return settings
