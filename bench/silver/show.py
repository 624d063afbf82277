"""Shows the contest's figures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def contest(console: Console, found: Mapping[str, Any]) -> None:
    """Show rates, then latencies."""
    table = Table(title="Bronze message → Silver and Gold committed, from a backlog", title_justify="left")
    for column in (
        "",
        "trades/s",
        "ours is",
        "CPU µs a trade: worker",
        "ClickHouse",
        "trades/s a worker's core",
        "peak MiB",
    ):
        table.add_column(column, justify="right" if column else "left")
    for one in found["backlog"]:
        table.add_row(
            one["contender"],
            f"{one['rows_per_s']:,.0f}",
            f"{one['times']:,.1f}",
            f"{one['worker_cpu_us']:,.1f}",
            f"{one['clickhouse_cpu_us']:,.1f}",
            f"{1e6 / one['worker_cpu_us']:,.0f}",
            f"{one['worker_peak_mb']:,.0f}",
        )
    console.print(table)
    table = Table(title="Bronze message → candle at a given rate, ms", title_justify="left")
    for column in ("", "trades/s", "p50", "p99", "inserts/s"):
        table.add_column(column, justify="right" if column else "left")
    for one in found["latency"]:
        behind = one["p50_ms"] is None
        figures = (
            ("does not", "keep up", f"reached {one['reached_per_s']:,.0f}/s")
            if behind
            else (f"{one['p50_ms']:,.0f}", f"{one['p99_ms']:,.0f}", f"{one['inserts_per_s']:,.1f}")
        )
        table.add_row(one["contender"], f"{one['rate']:,.0f}", *figures)
    console.print(table)


def memory(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Show a row for each fifth of the trades."""
    for one in found:
        title = f"{one['trades']:,} trades, markets: {one['markets']}; the most memory in each fifth"
        table = Table(title=title, title_justify="left")
        for column in ("fifth", "worker MiB", "index bytes", "ClickHouse MiB"):
            table.add_column(column, justify="right")
        for number, fifth in enumerate(one["fifths"], 1):
            figures = (f"{fifth[name]:,}" for name in ("worker_mb", "index_bytes", "clickhouse_mb"))
            table.add_row(str(number), *figures)
        console.print(table)
