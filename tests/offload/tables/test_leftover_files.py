"""Which files in a slice's folder an offload of the slice may remove after its commit."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

from config.settings import Settings
from offload.files.commit import files_of_other_attempts, new_attempt
from offload.files.data_files import process_attempt
from offload.files.export import slice_folder
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME
from offload.tables.slices import HOUR_US, hour

COLD = BY_NAME["silver_trades"]


def test_a_file_that_a_running_rederivation_may_still_commit_is_kept(tmp_path: Path) -> None:
    """A re-derivation of a day that the slice has no rows of commits its file after ours without a conflict."""
    settings = Settings(
        iceberg_catalog_uri=f"sqlite:///{tmp_path}/catalog.db", iceberg_warehouse=(tmp_path / "warehouse").as_uri()
    )
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace, (COLD,))
    table = catalog.load_table(f"{settings.iceberg_namespace}.{COLD.name}")
    part, ours, dead = hour(1_767_607_200_000_000 // HOUR_US * HOUR_US), new_attempt(), new_attempt()
    folder = Path(urlparse(slice_folder(table, part)).path)
    folder.mkdir(parents=True)
    for attempt in (ours, dead, process_attempt()):
        (folder / f"{attempt}-00000.parquet").touch()
    assert files_of_other_attempts(table, [part], ours) == [f"{slice_folder(table, part)}/{dead}-00000.parquet"]
