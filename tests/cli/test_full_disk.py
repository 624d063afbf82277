"""A command that meets a full disk says in one sentence what is full and what to do, and no statement of a library."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import cli.main
from cli.common.disks import explain_full_disk
from config.process.disks import FULL, OK, Disk
from config.settings import Settings
from offload.errors import WarehouseError
from offload.tables import catalog


def full_database(folder: Path) -> sa.Engine:
    """An SQLite database in which no more pages fit, as on a full disk."""
    engine = sa.create_engine(f"sqlite:///{folder / 'catalog.db'}")

    @sa.event.listens_for(engine, "connect")
    def limit(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    return engine


def make_a_table(folder: Path) -> None:
    with full_database(folder).begin() as connection:
        connection.execute(sa.text("CREATE TABLE iceberg_tables (secret_statement TEXT)"))


def wrapped(folder: Path) -> None:
    try:
        make_a_table(folder)
    except sa.exc.OperationalError as error:
        raise WarehouseError(f"Cannot open the catalog: {error}. Check the settings.") from error


@pytest.mark.parametrize("command", [make_a_table, wrapped])
def test_the_command_names_the_disk_and_no_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    monkeypatch.setattr(cli.main, "app", lambda: command(tmp_path))
    monkeypatch.setattr(Disk, "level", OK)
    with pytest.raises(SystemExit) as ended:
        cli.main.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    # None of the disks that the command knows of is full.
    assert said.startswith("error: No space left on a disk: that of a file on the command line or of standard output")
    assert said.endswith("nothing is lost. (OperationalError: database or disk is full)\n")
    assert "secret_statement" not in said


def test_the_disk_of_the_written_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here every disk counts as full."""
    monkeypatch.setattr(Disk, "level", FULL)
    failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/proc/new/file")
    assert "the disk of /proc (written file) has 0 of 0 MiB left" in explain_full_disk(failure)


@pytest.mark.parametrize("opened", [catalog.open_catalog, catalog.ColdTier.look])
@pytest.mark.parametrize(
    ("found", "uri", "reason"),
    [
        (Path.mkdir, "sqlite:///{file}", "unable to open database file"),
        (lambda file: file.write_text("no database " * 100), "sqlite:///{file}", "file is not a database"),
        (Path.touch, "postgresql+nobody://me:secret@127.0.0.1:1/x", "Can't load plugin: .*nobody"),
    ],
)
def test_a_catalog_that_cannot_be_opened_shows_the_reason_without_statement_and_password(
    tmp_path: Path, opened: Any, found: Any, uri: str, reason: str
) -> None:
    broken = tmp_path / "catalog.db"
    found(broken)
    settings = Settings(
        iceberg_catalog_uri=uri.format(file=broken), iceberg_warehouse=f"file://{tmp_path / 'warehouse'}"
    )
    with pytest.raises(WarehouseError, match=rf": {reason}\. Check MEDALLION_ICEBERG_CATALOG_URI") as refused:
        opened(settings)
    assert "secret" not in str(refused.value)
