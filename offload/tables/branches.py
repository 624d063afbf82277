"""The branch `main` of the cold tables, which says what is current: whether it is one, and how it becomes one again.

Version 0.1 took `main` for the name of a pin. The branch became a tag, after which no offload could commit; dropping
the pin left the tables without a current snapshot. Nothing is lost by either: the snapshots and their files are there.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot

from config.settings import Settings
from offload.tables.cold_tables import TABLES


class RepairedBranch(BaseModel):
    """A table whose branch `main` is to be put, or was put, on a snapshot, and the rows that it has."""

    model_config = ConfigDict(frozen=True)

    table: str
    branch_damage: str
    snapshot_id: int
    rows: int


def branch_damage(table: Table) -> str:
    """What is wrong with the branch `main` of a table; nothing if it is as it should be, or the table is new."""
    ref = table.metadata.refs.get(MAIN_BRANCH)
    if ref is None:
        return "there are snapshots and none is current" if table.metadata.snapshots else ""
    return "" if ref.snapshot_ref_type == SnapshotRefType.BRANCH else f"{MAIN_BRANCH} is a tag and no branch"


def repair_branches(catalog: Catalog, settings: Settings, *, dry_run: bool) -> list[RepairedBranch]:
    """Put the branch `main` of every damaged cold table where it was: on the tag's snapshot, or on the newest there is.

    Raises:
        CommitFailedException: somebody else changed a table meanwhile; run it again.
    """
    found = []
    for cold in TABLES:
        try:
            table = catalog.load_table(f"{settings.iceberg_namespace}.{cold.name}")
        except NoSuchTableError:
            continue
        wrong = branch_damage(table)
        if not wrong:
            continue
        snapshot = _current(table)
        if not dry_run:
            table.manage_snapshots().create_branch(snapshot.snapshot_id, MAIN_BRANCH).commit()
        rows = int(snapshot.summary["total-records"] or 0) if snapshot.summary else 0
        found.append(RepairedBranch(table=cold.name, branch_damage=wrong, snapshot_id=snapshot.snapshot_id, rows=rows))
    return found


def _current(table: Table) -> Snapshot:
    ref = table.metadata.refs.get(MAIN_BRANCH)
    tagged = table.snapshot_by_id(ref.snapshot_id) if ref else None
    return tagged or max(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
