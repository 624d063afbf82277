"""A database with every migration, empty for each test of the series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from series.store import SeriesStore
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, give_back_unused


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Iterator[Settings]:
    found = new_settings(http_port, tmp_path)
    yield found
    give_back_unused(found)


@pytest.fixture
def hot(settings: Settings) -> Iterator[HotTables]:
    """The hot tables of `settings`, as the migrations make them, empty."""
    tables = HotTables(settings)
    yield tables
    tables.give_back()


@pytest.fixture
def store(settings: Settings, hot: HotTables) -> SeriesStore:
    return SeriesStore(settings)
