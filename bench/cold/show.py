"""Shows the cold tier's results as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_NAMES = {
    "raw": "offload of Raw",
    "bronze": "offload of Bronze",
    "silver": "offload of Silver",
    "gold": "offload of Gold, all time frames (candles)",
    "rederive-look": "re-derivation, dry run",
    "rederive": "re-derivation, nothing to change",
    "row-wise": "Silver: rows of clickhouse-driver, appended by the thousand",
    "arrow": "Silver: one Arrow table, appended",
}


def cold(console: Console, figures: Sequence[Mapping[str, Any]]) -> None:
    """Show one line for each kind of work."""
    table = Table(title="Cold tier", title_justify="left")
    for column in (
        "work",
        "rows",
        "rows/s",
        "slowest … fastest",
        "MB/s written",
        "peak memory MiB",
        "CPU s: ClickHouse",
        "own",
        "times row-wise",
    ):
        table.add_column(column, justify="left" if column == "work" else "right")
    for one in figures:
        ratio = one["times_row_wise"]
        table.add_row(
            _NAMES[one["kind"]],
            f"{one['rows']:,}",
            f"{one['rows_per_s']:,.0f}",
            f"{one['slowest_rows_per_s']:,.0f} … {one['fastest_rows_per_s']:,.0f}",
            f"{one['mb_per_s']:,.1f}" if one["mb_per_s"] else "",
            f"{one['peak_rss_mb']:,.0f}",
            f"{one['node_cpu_s']:,.1f}",
            f"{one['own_cpu_s']:,.1f}",
            f"{ratio:,.1f}" if ratio else "",
        )
    console.print(table)
    console.print("Peak memory is that of the Python process with its libraries, without ClickHouse.")
