"""The one thing the runner needs of a ClickHouse client; `clickhouse_driver.Client` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class SqlClient(Protocol):
    """Runs one statement as it is."""

    def execute(self, query: str) -> Sequence[Sequence[Any]] | Any:
        """The result's rows, empty for a statement without a result."""
