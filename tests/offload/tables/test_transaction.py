"""A transaction shows the metadata with its own changes and, after another's commit, with those too."""

from __future__ import annotations

from pathlib import Path

from pyiceberg.table import Transaction
from pyiceberg.table.update import update_table_metadata

from config.settings import Settings
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME
from offload.tables.transaction import begin_transaction

COLD = BY_NAME["silver_trades"]


def assert_true(transaction: Transaction) -> None:
    """It shows what pyiceberg would make of all its changes."""
    made = update_table_metadata(transaction._table.metadata, transaction._updates)
    assert transaction.table_metadata.properties == made.properties
    assert transaction.table_metadata.current_snapshot_id == made.current_snapshot_id


def test_a_transaction_shows_its_own_changes_and_those_of_others(tmp_path: Path) -> None:
    settings = Settings(
        iceberg_catalog_uri=f"sqlite:///{tmp_path}/catalog.db", iceberg_warehouse=(tmp_path / "warehouse").as_uri()
    )
    catalog = open_catalog(settings)
    table = ensure_tables(catalog, settings.iceberg_namespace, (COLD,))[COLD.name]
    with begin_transaction(table) as transaction:
        assert_true(transaction)
        transaction.set_properties({"first": "1"})
        assert transaction.table_metadata.properties["first"] == "1"
        assert_true(transaction)
        with transaction.update_snapshot().overwrite():
            assert_true(transaction)
        assert transaction.table_metadata.current_snapshot_id is not None
        assert_true(transaction)
    other = catalog.load_table(table.name())
    with begin_transaction(other) as transaction:
        transaction.set_properties({"second": "2"})
    with begin_transaction(table) as transaction:
        assert "second" not in transaction.table_metadata.properties
        table.refresh()
        assert transaction.table_metadata.properties["second"] == "2"
    assert catalog.load_table(table.name()).properties["first"] == "1"
