"""The one thing the runner needs of a ClickHouse client; `clickhouse_driver.Client` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Client(Protocol):
    """Runs one statement; `%(name)s` in it is replaced by the escaped parameter."""

    def execute(self, query: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]] | Any:
        """The result's rows, empty for a statement without a result."""
