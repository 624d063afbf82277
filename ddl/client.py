"""The method of a ClickHouse client that the runner uses. `clickhouse_driver.Client` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class SqlClient(Protocol):
    """Runs one SQL statement."""

    def execute(self, query: str) -> Sequence[Sequence[Any]] | Any:
        """The rows of the result; empty if the statement has none."""
