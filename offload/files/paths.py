"""Names the files of a cold table that may have given rows. `scans` reads them, with Polars, which few callers need."""

from __future__ import annotations

from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table


def file_paths(table: Table, wanted: BooleanExpression) -> list[str]:
    """The files of the current snapshot that may have matching rows. They may have other rows, too."""
    return [task.file.file_path for task in table.scan(row_filter=wanted).plan_files()]
