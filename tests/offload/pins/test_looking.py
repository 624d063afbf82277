"""Invariant: a command that only looks at pins makes no folder, no catalog and no table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from config.settings import Settings
from offload.pins import PinError
from offload.tables.catalog import ColdTier, open_catalog
from offload.tables.cold_tables import TABLES


def nothing(_settings: Settings) -> None:
    """No offload ever ran."""


def empty_file(settings: Settings) -> None:
    """A process was killed before it made the catalog's own tables."""
    Path(settings.iceberg_catalog_uri.removeprefix("sqlite:///")).touch()


def catalog_without_tables(settings: Settings) -> None:
    open_catalog(settings)


@pytest.mark.parametrize("before", [nothing, empty_file, catalog_without_tables])
def test_looking_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Callable[[Settings], None], subtests: pytest.Subtests
) -> None:
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv("MEDALLION_ICEBERG_CATALOG_URI", f"sqlite:///{tmp_path / 'catalog.db'}")
    monkeypatch.setenv("MEDALLION_ICEBERG_WAREHOUSE", f"file://{tmp_path / 'warehouse'}")
    settings = Settings()
    before(settings)
    found = sorted(tmp_path.rglob("*"))
    for command in (["list"], ["show", "week"], ["diff", "week", "now"], ["drop", "week"], ["repair", "--yes"]):
        with subtests.test(command=command):
            done = CliRunner().invoke(app, ["pin", *command])
            if "week" in command:
                assert isinstance(done.exception, PinError)
                assert str(done.exception).startswith("There is no pin week")
            else:
                assert done.exit_code == 0, done.exception
            tier = ColdTier.look(settings)
            assert tier is None or tier.missing() == [cold.name for cold in TABLES]
            assert sorted(tmp_path.rglob("*")) == found
