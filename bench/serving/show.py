"""Shows the service's figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def median(laps: Sequence[Mapping[str, float]], name: str) -> float:
    """The median of a figure over the runs."""
    return statistics.median(one[name] for one in laps)


def serving(console: Console, found: Mapping[str, Any]) -> None:
    """Show a line for each figure."""
    clients, replay = found["clients"], found["replay"]
    table = Table(title="Serving", title_justify="left")
    for column in ("what", "p50 ms", "p99 ms", "rate", "CPU and memory of the service"):
        table.add_column(column, justify="left" if column == "what" else "right")
    missed = sum(one["missed"] for one in found["message"])
    for name, title, rate in (
        ("message", "trade → WebSocket message at 5,000/s", f"{missed:,} missed"),
        ("klines", "klines of 1,000 candles, 50 requests/s", ""),
        ("prices", "prices of 500 markets, 50 requests/s", ""),
    ):
        quantiles = (f"{median(found[name], each):,.1f}" for each in ("p50_ms", "p99_ms"))
        table.add_row(title, *quantiles, rate, "")
    table.add_row(
        "1,000 clients of 10 streams, one core: made → received",
        f"{clients['p50_ms']:,.1f}",
        f"{clients['p99_ms']:,.1f}",
        f"{clients['messages_per_s']:,.0f}/s",
        f"{clients['cpu_percent']:.0f} %, {clients['cpu_us_per_message']:.1f} µs a message; "
        f"{clients['before_mb']:,.0f} MiB before, {clients['first_mb']:,.0f} … {clients['last_mb']:,.0f} during, "
        f"{clients['after_mb']:,.0f} after",
    )
    table.add_row(
        "replay from Iceberg",
        "",
        "",
        f"{replay['messages_per_s']:,.0f}/s",
        f"{replay['service_us']:.1f} µs a message and {replay['clickhouse_us']:.1f} in ClickHouse, "
        f"{replay['service_mb']:,.0f} MiB; {replay['mb_per_s']:,.0f} MB/s",
    )
    table.add_row("without clients", "", "", "", f"{found['idle_percent']:.1f} %")
    console.print(table)
