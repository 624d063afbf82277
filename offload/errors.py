"""Errors of the cold tier. Every message says what to do next."""

from __future__ import annotations

from config.errors import MedallionError


class OffloadError(MedallionError):
    """Base of all errors of the cold tier."""


class HotStoreError(OffloadError):
    """ClickHouse refused a statement or does not answer. The current slice was not committed."""


class ReplicaAwayError(OffloadError):
    """A replica of the cluster does not answer. No day was changed; run again when it is back."""


class BrokenExportError(OffloadError):
    """The Parquet stream ended early or does not fit the cold table. The file was removed; run the offload again."""


class CommitConflictError(OffloadError):
    """Another offloader keeps replacing the same slices. Run again when it has finished."""


class WarehouseError(OffloadError):
    """The catalog or the warehouse cannot be used as configured."""


class OffloadStoppedError(OffloadError):
    """The service stopped between two slices. Committed slices stay; run again for the rest."""


class DiskSpaceError(OffloadError):
    """The disk for temporary files is too small for a comparison. Nothing was changed."""
