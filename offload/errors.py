"""What can go wrong in the cold tier; every message says what to do next."""

from __future__ import annotations

from config.errors import MedallionError


class OffloadError(MedallionError):
    """Base of the cold tier's errors."""


class HotStoreError(OffloadError):
    """ClickHouse refused a statement or could not be reached; nothing was committed for the slice at hand."""


class BrokenExportError(OffloadError):
    """The Parquet stream ended early or does not fit the cold table; the file was removed, run the offload again."""


class CommitConflictError(OffloadError):
    """Another offloader kept replacing the same slices; run again when it has finished."""


class WarehouseError(OffloadError):
    """The catalog or the warehouse cannot be used as configured."""


class OffloadStoppedError(OffloadError):
    """The service was told to stop between two slices; what was committed stays, run again for the rest."""


class DiskSpaceError(OffloadError):
    """The disk for temporary files cannot hold what is compared; nothing was changed."""
