"""A re-derivation in a process of its own that stops at a named statement, so that a test can kill it there.

usage: rederive_worker.py SETTINGS_JSON FROM TO STATEMENT NUMBER MARKER
At the NUMBER-th statement that begins so (no database in it; `INSERT <table>` for rows sent), before it is sent, it
writes MARKER and waits to be killed. STATEMENT `commit:<cold table>` is the commit of that table.
"""

from __future__ import annotations

import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive


class Stopping(ClickHouseHttp):
    """Stops before a statement is sent."""

    def __init__(self, settings: Settings, statement: str, number: int, marker: Path) -> None:
        super().__init__(settings)
        self._statement, self._left, self._marker = statement, number, marker
        self._database = f"{settings.clickhouse_database}."

    def meet(self, text: str) -> None:
        """Stop here if this is the statement."""
        if " ".join(text.split()).startswith(self._statement):
            self._left -= 1
            if not self._left:
                self._marker.touch()
                threading.Event().wait()

    def command(self, sql: str, parameters: Parameters) -> None:
        lines = (line for line in sql.splitlines() if not line.startswith("--"))
        self.meet("\n".join(lines).replace(self._database, ""))
        super().command(sql, parameters)

    def insert(self, table: str, rows: pa.Table) -> None:
        self.meet(f"INSERT {table}")
        super().insert(table, rows)


def main(arguments: list[str]) -> None:
    """Run until the statement."""
    settings = Settings.model_validate_json(arguments[0])
    start, end = (datetime.fromisoformat(text) for text in arguments[1:3])
    hot = Stopping(settings, arguments[3], int(arguments[4]), Path(arguments[5]))
    commit = Table._do_commit

    def committing(table: Table, *more: Any, **named: Any) -> None:
        hot.meet(f"commit:{table.name()[-1]}")
        commit(table, *more, **named)

    Table._do_commit = committing  # type: ignore[method-assign]
    rederive(Tiers.open(settings, hot), start, end, exchange="binance")


if __name__ == "__main__":
    main(sys.argv[1:])
