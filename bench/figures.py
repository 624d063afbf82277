"""The figures of a result, beside the goals, the ADR's pipeline and a baseline."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cold.measure import DRY_RUN
from bench.pipeline.parts import most_parts

Result = Mapping[str, Any]
_MB_A_MIB = 2**20 / 1e6


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a figure, by its key in `figures`. `earlier` is from commit 9fce581 on a quiet two-core machine."""

    key: str
    title: str
    unit: str
    earlier: float | None
    must: float
    aim: float | None
    more_is_better: bool = False


def _latency(rate: int, quantile: str, earlier: float, must: float, aim: float) -> Goal:
    return Goal(f"latency_{rate}_{quantile}", f"trade → candle at {rate:,}/s, {quantile[:3]}", "ms", earlier, must, aim)


# What the pipeline must reach, and what it aims at. docs/benchmarks.md has the same table.
GOALS: tuple[Goal, ...] = (
    _latency(1_000, "p50_ms", 457, 120, 80),
    _latency(1_000, "p99_ms", 806, 200, 150),
    _latency(5_000, "p50_ms", 614, 130, 90),
    _latency(5_000, "p99_ms", 944, 200, 150),
    _latency(20_000, "p50_ms", 1_185, 200, 150),
    _latency(20_000, "p99_ms", 1_878, 350, 250),
    Goal("sustained_per_s", "sustained raw topic → Gold", "trades/s", 33_700, 65_000, 100_000, more_is_better=True),
    Goal("sustained_cpu_us", "CPU a trade: ClickHouse, Silver, broker, sustained", "µs", 47, 20, 15),
    Goal("idle_percent", "CPU of an idle stack, all processes", "% of a core", 19, 5, 2),
    Goal("rederive_per_s", "re-derivation, dry run", "rows/s", 78_800, 250_000, 500_000, more_is_better=True),
    Goal("rederive_mib", "re-derivation, dry run, peak memory", "MiB", 440, 600, None),
    Goal("latest_prices_p99_ms", "latest_prices of 500 markets, p99", "ms", None, 10, None),
    Goal("stack_mb", "memory of the stack, peak", "MB", 1_100, 1_200, 1_000),
    Goal("serving_message_p99_ms", "trade → WebSocket message at 5,000/s, p99", "ms", None, 250, None),
    Goal("serving_klines_p99_ms", "klines of 1,000 candles at 50 requests/s, p99", "ms", None, 20, None),
    Goal("serving_prices_p99_ms", "prices of 500 markets, p99", "ms", None, 10, None),
    Goal("serving_replay_per_s", "replay from Iceberg", "messages/s", None, 300_000, None, more_is_better=True),
    Goal("parts_after_runs", "parts of one partition after a run, at most", "parts", None, 100, None),
    Goal("parts_long_run", "parts of one partition in a long run, at most", "parts", None, 100, None),
)


def figures(result: Result) -> dict[str, float]:
    """The figures that the result has, by key. Keys of the ADR's pipeline begin with `adr_`."""
    found: dict[str, float] = {}
    found |= _end_to_end(result)
    found |= {f"adr_{key}": value for key, value in _end_to_end(result.get("adr", {})).items()}
    if "idle" in result:
        found["idle_percent"] = result["idle"]["percent"]
    if "views" in result:
        (prices,) = (one for one in result["views"] if one["name"] == "latest_prices")
        found["latest_prices_p99_ms"] = prices["p99_ms"]
    dry_run = result.get("rederive") or next((one for one in result.get("cold", ()) if one["kind"] == DRY_RUN), None)
    if dry_run:
        found |= {"rederive_per_s": dry_run["rows_per_s"], "rederive_mib": dry_run["peak_rss_mb"]}
    if serving := result.get("serving"):
        for name in ("message", "klines", "prices"):
            found[f"serving_{name}_p99_ms"] = statistics.median(one["p99_ms"] for one in serving[name])
        found["serving_replay_per_s"] = serving["replay"]["messages_per_s"]
    if "parts" in result:
        found["parts_long_run"] = result["parts"]["most"]
    return found


def _end_to_end(result: Result) -> dict[str, float]:
    found: dict[str, float] = {}
    memory: list[float] = []
    parts: list[dict[str, Any]] = []
    for one in result.get("latency", ()):
        memory += [run["stack_peak_rss_mb"] for run in one["runs"]]
        parts += one["parts"]
        if one["keeps_up"]:
            name = f"latency_{one['rate']:.0f}"
            found |= {f"{name}_p50_ms": one["p50_ms"], f"{name}_p99_ms": one["p99_ms"]}
            found[f"{name}_cpu_us"] = one["stack_cpu_us_per_trade"]
    if sustained := result.get("sustained"):
        found |= {"sustained_per_s": sustained["trades_per_s"], "sustained_cpu_us": sustained["stack_cpu_us_per_trade"]}
        memory.append(sustained["stack_peak_rss_mb"])
        parts += sustained["parts"]
    if memory:
        found |= {"stack_mb": max(memory) * _MB_A_MIB, "parts_after_runs": most_parts(parts)}
    return found


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text for the terminal and for Markdown. The first column has words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table in Markdown, with a heading."""
        lines = [f"### {self.title}", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|---|" + "---:|" * (len(self.columns) - 1))
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in self.rows), ""])


def goals_grid(result: Result, baseline: Result | None = None) -> Grid:
    """A row for each goal; "" for a figure that the result does not have.

    With a baseline, a row also has its figure, and how many times better ours is.
    """
    ours, base = figures(result), figures(baseline or {})
    columns = ["figure", "9fce581", "must", "aim", "measured", "reached"]
    rows = []
    for goal in GOALS:
        value = ours.get(goal.key)
        row = [f"{goal.title}, {goal.unit}", _number(goal.earlier), _number(goal.must), _number(goal.aim)]
        row += [_number(value), "" if value is None else _reached(goal, value)]
        if baseline is not None:
            before = base.get(goal.key)
            row += [_number(before), _times(value, before, more_is_better=goal.more_is_better)]
        rows.append(row)
    return Grid("Must reach", columns + ["baseline", "times better"] * (baseline is not None), rows)


def beside_grid(result: Result) -> Grid:
    """Our figures beside those of the ADR's pipeline from the same command; "" for what was not measured.

    At a rate with which a pipeline does not keep up, it has no figures.
    """
    adr = result["adr"]
    found = figures(result)
    rates = sorted({one["rate"] for part in (result, adr) for one in part.get("latency", ())} | set(adr["skipped"]))
    kinds = [("sustained_per_s", "sustained rate, trades/s", True, None)]
    kinds.append(("sustained_cpu_us", "… CPU a trade, µs", False, None))
    for rate in rates:
        name, words = f"latency_{rate:.0f}", f"trade → candle at {rate:,.0f}/s"
        kinds.append((f"{name}_p50_ms", f"{words}, p50, ms", False, rate))
        kinds.append((f"{name}_p99_ms", "… p99, ms", False, rate))
        kinds.append((f"{name}_cpu_us", "… CPU a trade, µs", False, rate))
    kinds.append(("stack_mb", "memory of the stack, peak, MB", False, None))
    rows = []
    for key, title, more_is_better, rate in kinds:
        ours, theirs = found.get(key), found.get(f"adr_{key}")
        row = [title, _held(result, rate, ours), _held(adr, rate, theirs)]
        rows.append([*row, _times(ours, theirs, more_is_better=more_is_better)])
    return Grid("Beside the ADR to the letter", ["figure", "ours", "the ADR", "ours is better, times"], rows)


def _held(part: Result, rate: float | None, value: float | None) -> str:
    behind = {one["rate"] for one in part.get("latency", ()) if not one["keeps_up"]} | set(part.get("skipped", ()))
    return "does not hold" if rate in behind else _number(value)


def markdown(result: Result, baseline: Result | None = None) -> str:
    """The tables of a result in Markdown, for docs/benchmarks.md."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    changes = " with uncommitted changes" if machine["uncommitted_changes"] else ""
    load = ", ".join(str(one) for one in machine["load_average"])
    quiet = "" if machine["quiet"] else " **The machine was not quiet: only ratios within this run mean something.**"
    lines = [
        f"{result['at'][:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB,"
        f" {machine['system']}, Python {machine['python']}, commit {machine['commit']}{changes};"
        f" load average at the start {load}.{quiet}",
        "",
        f"{versions}. {result['plan']}",
        "",
        goals_grid(result, baseline).markdown(),
    ]
    if "adr" in result:
        lines.append(beside_grid(result).markdown())
    return "\n".join(lines)


def _reached(goal: Goal, value: float) -> str:
    def is_met(limit: float | None) -> bool:
        return limit is not None and (value >= limit if goal.more_is_better else value <= limit)

    if is_met(goal.aim):
        return "aim"
    return "must" if is_met(goal.must) else "no"


def _times(ours: float | None, theirs: float | None, *, more_is_better: bool) -> str:
    if not ours or not theirs:
        return ""
    return f"{ours / theirs if more_is_better else theirs / ours:,.1f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if abs(value) < 100 and value != round(value) else f"{value:,.0f}"
