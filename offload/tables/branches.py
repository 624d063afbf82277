"""Finds and repairs damage to the branch `main` of the cold tables. The branch names the current snapshot.

Version 0.1 accepted `main` as the name of a pin. This turned the branch into a tag, and no offload could commit.
Dropping the pin left the tables without a current snapshot. No row is lost, since the snapshots and their files exist.
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
    """A table whose branch `main` was repaired; in a dry run, would be.

    `snapshot_id`: the snapshot that the repaired branch names; `rows`: its number of rows.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    damage: str
    snapshot_id: int
    rows: int


def branch_damage(table: Table) -> str:
    """How the branch `main` of a table is damaged; "" if it is not, or if the table is new."""
    ref = table.metadata.refs.get(MAIN_BRANCH)
    if ref is None:
        return "no snapshot is current" if table.metadata.snapshots else ""
    return "" if ref.snapshot_ref_type == SnapshotRefType.BRANCH else f"{MAIN_BRANCH} is a tag, not a branch"


def repair_branches(catalog: Catalog, settings: Settings, *, dry_run: bool) -> list[RepairedBranch]:
    """Repair the branch `main` of every damaged cold table; returns these tables.

    The branch then names the snapshot of the tag. Without a tag it names the newest snapshot.

    Raises:
        CommitFailedException: another process changed a table meanwhile; run the command again.
    """
    repaired = []
    for cold in TABLES:
        try:
            table = catalog.load_table(f"{settings.iceberg_namespace}.{cold.name}")
        except NoSuchTableError:
            continue
        damage = branch_damage(table)
        if not damage:
            continue
        snapshot = _current(table)
        if not dry_run:
            table.manage_snapshots().create_branch(snapshot.snapshot_id, MAIN_BRANCH).commit()
        rows = int(snapshot.summary["total-records"] or 0) if snapshot.summary else 0
        repaired.append(RepairedBranch(table=cold.name, damage=damage, snapshot_id=snapshot.snapshot_id, rows=rows))
    return repaired


def _current(table: Table) -> Snapshot:
    ref = table.metadata.refs.get(MAIN_BRANCH)
    tagged = table.snapshot_by_id(ref.snapshot_id) if ref else None
    return tagged or max(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
