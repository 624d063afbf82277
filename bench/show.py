"""Shows results as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Grid
from bench.pipeline.latency import RateResult
from bench.pipeline.sustained import SustainedResult


def machine(console: Console, found: Mapping[str, Any]) -> None:
    """Show the machine in one line, and a warning if other work disturbs the measurement."""
    console.print(
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, {found['system']}, Python {found['python']},"
        f" commit {found['commit'] or 'unknown'}{' with changes' if found['uncommitted_changes'] else ''}"
    )
    if not found["quiet"]:
        console.print(
            f"[yellow]Load average {found['load_average'][0]}: other work runs here, so expect worse figures than on a"
            " quiet machine; only ratios within this run mean something."
        )


def stages(console: Console, figures: Sequence[Mapping[str, Any]]) -> None:
    """Show each stage alone. The slowest is in bold."""
    whole = [one for one in figures if not one["stage"].startswith("the same")]
    slowest = min(whole, key=lambda one: float(one["trades_per_s"]))
    table = Table(title="Each stage alone", title_justify="left")
    for column in (
        "stage",
        "trades/s",
        "slowest … fastest run",
        "ms a batch",
        "CPU µs a trade",
        "times the obvious way",
    ):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for one in figures:
        ratio = one["times_baseline"]
        table.add_row(
            one["stage"],
            f"{one['trades_per_s']:,.0f}",
            f"{one['slowest_trades_per_s']:,.0f} … {one['fastest_trades_per_s']:,.0f}",
            f"{one['wall_ms']:,.1f}",
            f"{one['cpu_us_per_trade']:,.1f}",
            f"{ratio:,.1f}" if ratio else "",
            style="bold" if one is slowest else "",
        )
    console.print(table)
    cpu = sum(one["cpu_us_per_trade"] for one in whole)
    console.print(
        f"The slowest alone: {slowest['stage']}, {slowest['trades_per_s']:,.0f} trades/s. All stages together take"
        f" {cpu:,.1f} µs of CPU a trade in large batches: {1e6 / cpu:,.0f} trades/s a core."
    )


def live(console: Console, found: Mapping[str, Any]) -> None:
    """Show the live producer on one core, and the bare loop."""
    table = Table(title="One WebSocket connection → broker, the producer on one core", title_justify="left")
    for column in ("", "trades/s", "slowest … fastest run", "CPU µs a trade", "of its core"):
        table.add_column(column, justify="right" if column else "left")
    for name, title in (("bare", "receive and discard"), ("producer", "live producer")):
        laps = found["runs"][name]
        rates = sorted(one["trades_per_s"] for one in laps)
        middle = laps[[one["trades_per_s"] for one in laps].index(rates[len(rates) // 2])]
        table.add_row(
            title,
            f"{middle['trades_per_s']:,.0f}",
            f"{rates[0]:,.0f} … {rates[-1]:,.0f}",
            f"{middle['cpu_us_per_trade']:,.1f}",
            f"{middle['core_share']:.0%}",
        )
    console.print(table)
    console.print(
        f"The bare loop is {found['bare_to_producer']:.2f} times as fast as the producer, which takes"
        f" {found['producer_to_bare_cpu']:.2f} times its CPU a trade."
    )


def sustained(console: Console, result: SustainedResult) -> None:
    """Show the sustained rate, and the CPU and memory that it takes."""
    rates = ", ".join(f"{run['trades_per_s']:,.0f}" for run in result.runs)
    console.print(f"\nSustained raw topic → Gold: [bold]{result.trades_per_s:,.0f} trades/s[/] (runs: {rates})")
    processes(console, result.runs)


def latency(console: Console, result: RateResult) -> None:
    """Show the latency of each stage at one rate."""
    runs = result.runs
    table = Table(title=f"Trade → candle at {result.rate:,.0f} trades/s, ms", title_justify="left")
    for column in ("layer", "mean", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for stage in result.stages.iter_rows(named=True):
        figures = [f"{stage[f'{name}_ms']:,.0f}" for name in ("mean", "p50", "p90", "p99", "max")]
        table.add_row(stage["stage"], *figures, style="bold" if stage["stage"] == "trade → candle" else "")
    console.print()
    console.print(table)
    first = runs[0]
    layers = ""
    if "rows_per_block" in first:
        layers = f" {first['rows_per_block']:,.0f} trades a block; {first['inserts_per_s']:,.1f} Silver inserts/s;"
    console.print(
        f"reached {first['trades_per_s']:,.0f}/s; generator at most {first['generator_most_behind_ms']:,.0f} ms behind;"
        f"{layers} {first['looks_per_s']:.0f} looks/s (first run)"
    )
    console.print(f"p50 of the warm-up: {', '.join(f'{one:,.0f}' for one in result.warm_up_p50_ms)} ms")
    if not result.keeps_up:
        console.print("[yellow]The pipeline does not keep up with this rate: latencies grow as long as the load lasts.")
    processes(console, runs)


def idle(console: Console, found: Mapping[str, Any]) -> None:
    """Show the CPU of an idle stack, by process."""
    each = ", ".join(f"{name} {percent:.1f}" for name, percent in found["processes"].items())
    console.print(
        f"An idle stack takes [bold]{found['percent']:.1f} %[/] of a core ({each}) and {found['rss_mb']:,.0f} MiB,"
        f" over {found['seconds']:.0f} s"
    )


def views(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Show how long each query takes."""
    table = Table(title="Views, 500 markets with a month of minutes", title_justify="left")
    for column in ("query", "rows", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "query" else "right")
    for one in found:
        table.add_row(one["query"], f"{one['rows']:,.0f}", f"{one['p50_ms']:,.1f}", f"{one['p99_ms']:,.1f}")
    console.print(table)


def parts(console: Console, found: Mapping[str, Any]) -> None:
    """Show the most active parts of a partition, by table."""
    minutes = f"{found['seconds'] / 60:,.0f} min"
    table = Table(title=f"Parts of one partition, {found['rate']:,.0f} trades/s for {minutes}", title_justify="left")
    for column in ("table", "2nd quarter of the time", "last quarter", "most ever"):
        table.add_column(column, justify="left" if column == "table" else "right")
    for one in found["tables"]:
        quarters = ("" if one[name] is None else str(one[name]) for name in ("second_quarter", "last_quarter"))
        table.add_row(one["table"], *quarters, str(one["most"]))
    console.print(table)


def grid(console: Console, found: Grid) -> None:
    """Show a table of figures."""
    table = Table(title=found.title, title_justify="left")
    for number, column in enumerate(found.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in found.rows:
        table.add_row(*row)
    console.print()
    console.print(table)


def processes(console: Console, runs: Sequence[Mapping[str, Any]]) -> None:
    """Show CPU and memory by process in the first run. `generator` and `watcher` belong to the measurement."""
    table = Table()
    for column in ("process", "cores", "CPU µs a trade", "peak memory MiB"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for name, one in runs[0]["processes"].items():
        table.add_row(name, f"{one['cores']:.2f}", f"{one['cpu_us_per_trade']:,.1f}", f"{one['peak_rss_mb']:,.0f}")
    console.print(table)
    most = max(run["stack_peak_rss_mb"] for run in runs)
    console.print(f"The stack's processes together: at most {most:,.0f} MiB resident (shared pages counted for each).")
