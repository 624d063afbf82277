"""The catalog is asked at each load which version of a table is the current one; a version is parsed once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError

from config.settings import Settings
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME

COLD = BY_NAME["silver_trades"]


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
