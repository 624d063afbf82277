"""Shows the figures of the series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_NAMES = {
    "answers": "bars: answers of 1,000, landing → current",
    "row-wise": "an INSERT a row into one table",
}


def series(console: Console, figures: Sequence[Mapping[str, Any]]) -> None:
    """Show one line for each way."""
    table = Table(title="Series", title_justify="left")
    for column in ("way", "rows", "rows/s", "slowest … fastest", "CPU µs a row, with ClickHouse", "times row-wise"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for one in figures:
        table.add_row(
            _NAMES[one["kind"]],
            f"{one['rows']:,}",
            f"{one['rows_per_s']:,.0f}",
            f"{one['slowest_rows_per_s']:,.0f} … {one['fastest_rows_per_s']:,.0f}",
            f"{one['cpu_us_per_row']:,.1f}",
            f"{one['times_row_wise']:,.1f}",
        )
    console.print(table)
