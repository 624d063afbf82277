"""A transaction that copies the table's metadata once for each change, and not for each access."""

from __future__ import annotations

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata


class OneCopyTransaction(Transaction):
    """pyiceberg's transaction with a cached `table_metadata`, which readers must not change.

    A commit reads it about twenty times, and pyiceberg makes a deep copy of all snapshots and properties each time.
    """

    _known: tuple[tuple[object, object], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata with all changes of this transaction."""
        basis = (self._table.metadata, self._updates)
        known = self._known
        if known is None or known[0][0] is not basis[0] or known[0][1] is not basis[1]:
            known = self._known = (basis, super().table_metadata)
        return known[1]


class UnmovedTransaction(OneCopyTransaction):
    """One that commits to the snapshot on which it began, or not at all.

    pyiceberg repeats a failed commit on the newer snapshot with the properties as they were set. Properties that were
    computed from the older snapshot would undo those of the commit in between.
    """

    def _rebuild_snapshot_updates(self) -> None:
        raise CommitFailedException("Another commit came first.")


def begin_transaction(table: Table, *, may_move: bool = True) -> Transaction:
    """Begin a transaction on the table, for a `with` block; it commits if the block raises no error.

    After a commit in between that is no conflict it commits all the same, unless `may_move` is false; then it raises
    CommitFailedException.
    """
    return OneCopyTransaction(table) if may_move else UnmovedTransaction(table)
