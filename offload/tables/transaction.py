"""A transaction that copies the table's metadata once for each change, and not for each access."""

from __future__ import annotations

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


def begin_transaction(table: Table) -> Transaction:
    """Begin a transaction on the table, for a `with` block; it commits if the block raises no error."""
    return OneCopyTransaction(table)
