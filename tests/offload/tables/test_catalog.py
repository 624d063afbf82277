"""The catalog is asked at each load which version of a table is the current one; a version is parsed once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError

from config.settings import Settings
from ddl.quoting import UNREADABLE
from deploy.embedded.layout import DataDir, StackError
from offload.clickhouse.locations import server_path
from offload.errors import WarehouseError
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME

COLD = BY_NAME["silver_trades"]
# Every other character of ASCII.
OTHERS = "".join(mark for mark in map(chr, range(1, 128)) if mark not in {*UNREADABLE, "/"})


def test_a_commit_of_another_process_is_seen_at_once(tmp_path: Path) -> None:
    settings = Settings(
        iceberg_catalog_uri=f"sqlite:///{tmp_path}/catalog.db", iceberg_warehouse=(tmp_path / "warehouse").as_uri()
    )
    ours, theirs = open_catalog(settings), open_catalog(settings)
    name = f"{settings.iceberg_namespace}.{COLD.name}"
    with pytest.raises(NoSuchTableError):
        ours.load_table(name)
    ensure_tables(theirs, settings.iceberg_namespace, (COLD,))
    before = ours.load_table(name)
    assert before.metadata is ours.load_table(name).metadata
    with theirs.load_table(name).transaction() as transaction:
        transaction.set_properties({"theirs": "1"})
    after = ours.load_table(name)
    assert after.properties["theirs"] == "1"
    assert "theirs" not in before.properties, "what was loaded before stays that version"
    assert after.metadata_location != before.metadata_location
    # A commit onto the version before it is refused where it would change the same.
    with after.update_schema() as update:
        update.update_column("symbol", doc="another comment")
    with pytest.raises(CommitFailedException), before.update_schema() as update:
        update.update_column("symbol", doc="a third comment")


@pytest.mark.parametrize("mark", ["*", "?", "{", "}", "[", "]", "\\", "#", ",", "::", "\t", "\n", "\r"])
def test_a_warehouse_that_would_lie_elsewhere_is_refused_before_anything_is_written(mark: str, tmp_path: Path) -> None:
    """pyiceberg, too, reads addresses as URLs, and takes line ends away or ends the path early."""
    folder = tmp_path / f"a{mark}b"
    settings = Settings(
        iceberg_catalog_uri=f"sqlite:///{tmp_path}/catalog.db", iceberg_warehouse=f"file://{folder}/warehouse"
    )
    with pytest.raises(WarehouseError, match="choose another one"):
        open_catalog(settings)
    with pytest.raises(StackError, match="choose another one"):
        DataDir(folder).create()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", [" a b ", "100%20", "\u2028ü日", OTHERS], ids=ascii)
def test_files_lie_in_the_warehouse_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    settings = Settings(iceberg_catalog_uri=f"sqlite:///{tmp_path}/catalog.db", iceberg_warehouse=f"file://{folder}")
    table = ensure_tables(open_catalog(settings), settings.iceberg_namespace, (COLD,))[COLD.name]
    assert [*folder.rglob("*.metadata.json")]
    assert {path.name for path in tmp_path.iterdir()} == {name, "catalog.db"}
    assert server_path(table, table.location()).startswith(f"{folder}/")
