"""Finds files of a cold table that are not as they were committed: their sizes, which the table's manifests have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import FileScanTask, Table

# An object store answers a question about a file in some ten milliseconds, and many at a time.
_THREADS = 16


class DamagedFile(BaseModel):
    """A file of the current snapshot: the `committed` size (bytes), and the one `found`; None if there is no file."""

    model_config = ConfigDict(frozen=True)

    file: str
    committed: int
    found: int | None


def damaged_files(table: Table, wanted: BooleanExpression) -> list[DamagedFile]:
    """The damaged ones among the files that may have matching rows, by path. No file is read.

    Raises:
        OSError: the store does not answer.
    """

    def look(task: FileScanTask) -> DamagedFile:
        file = table.io.new_input(task.file.file_path)
        found = len(file) if file.exists() else None
        return DamagedFile(file=task.file.file_path, committed=task.file.file_size_in_bytes, found=found)

    with ThreadPoolExecutor(_THREADS) as pool:
        looked_at = [*pool.map(look, table.scan(row_filter=wanted).plan_files())]
    return sorted((one for one in looked_at if one.found != one.committed), key=lambda one: one.file)
