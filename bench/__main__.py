"""`python -m bench [PART …]` measures, shows the results, and writes them to a JSON file and as tables to Markdown."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from bench import figures, machine, show
from bench.adr import measure as adr
from bench.adr.place import AdrError
from bench.cold import measure as cold_tier
from bench.cold import show as show_cold
from bench.cold.measure import ColdError
from bench.live import measure as live
from bench.node import NodeError
from bench.pipeline import idle, latency, parts, sustained
from bench.pipeline.runs import LoadError
from bench.plan import FULL, QUICK, Plan
from bench.series import measure as bars
from bench.series import show as show_series
from bench.series.measure import BarsError
from bench.serving import measure as serving
from bench.serving import show as show_serving
from bench.serving.service import ServiceError
from bench.silver import measure as silver
from bench.silver import memory
from bench.silver import show as show_silver
from bench.silver.place import PlaceError
from bench.stack import our_target
from bench.stages import measure as stages
from bench.views import measure as views
from config.process.garbage import collect_rarely
from deploy.embedded.layout import StackError

# Failures of the machine, not of this code. Their message is enough.
_FAILURES = (StackError, PlaceError, AdrError, LoadError, ColdError, ServiceError, NodeError, BarsError)
_RESULTS = Path(__file__).with_name("results")
_RATES = (1_000.0, 5_000.0, 20_000.0)


@dataclass(frozen=True, slots=True)
class _Bench:
    """The options of a run, and the console for its results."""

    given: argparse.Namespace
    plan: Plan
    console: Console

    @property
    def rates(self) -> Sequence[float]:
        """Rates at which latencies are measured, trades/s."""
        return self.given.rate or _RATES

    def latency(self) -> list[dict[str, Any]]:
        """Latencies of our pipeline. Each rate gets a new stack, because parts of earlier loads slow a stack down."""
        kept = []
        for rate in self.rates:
            with our_target() as target:
                found = latency.measure(target, rate, self.plan)
            show.latency(self.console, found)
            kept.append(found.to_dict())
        return kept

    def sustained(self) -> dict[str, Any]:
        """The sustained rate of our pipeline."""
        with our_target() as target:
            found = sustained.measure(target, self.plan)
        show.sustained(self.console, found)
        return found.to_dict()

    def adr(self) -> dict[str, Any]:
        """The ADR's pipeline under the same loads."""
        return adr.measure(self.plan, self.rates, self.console.print)

    def idle(self) -> dict[str, Any]:
        """A stack without messages."""
        with our_target(schedules=True) as target:
            found = idle.measure(target, self.plan)
        show.idle(self.console, found)
        return found

    def views(self) -> list[dict[str, Any]]:
        """The analyst's views."""
        with our_target() as target:
            found = views.measure(target, self.plan, self.console.print)
        show.views(self.console, found)
        return found

    def parts(self) -> dict[str, Any]:
        """Active parts during a long load."""
        rate = self.given.rate[0] if self.given.rate else parts.RATE
        seconds = parts.HOUR_S if self.given.hour else self.given.seconds
        with our_target() as target:
            found = parts.measure(target, self.plan, rate, seconds or parts.SHORT_S)
        show.parts(self.console, found)
        return found

    def rederive(self) -> dict[str, Any]:
        """The dry run of a re-derivation."""
        return cold_tier.rederivation(self.plan, self.console.print)

    def stages(self) -> list[dict[str, Any]]:
        """Each stage on its own."""
        found = stages.measure(self.plan)
        show.stages(self.console, found)
        return found

    def silver(self) -> dict[str, Any]:
        """The Silver worker and other ways to write it."""
        found = silver.measure(self.plan, self.console.print)
        show_silver.contest(self.console, found)
        return found

    def cold(self) -> list[dict[str, Any]]:
        """The offload and the re-derivation."""
        found = cold_tier.measure(self.plan, self.console.print)
        show_cold.cold(self.console, found)
        return found

    def series(self) -> list[dict[str, Any]]:
        """Bars from the answers to the current rows."""
        found = bars.measure(self.plan, self.console.print)
        show_series.series(self.console, found)
        return found

    def live(self) -> dict[str, Any]:
        """The live producer."""
        found = live.measure(self.plan)
        show.live(self.console, found)
        return found

    def serving(self) -> dict[str, Any]:
        """The page's service."""
        found = serving.measure(self.plan, self.console.print)
        show_serving.serving(self.console, found)
        return found

    def memory(self) -> list[dict[str, Any]]:
        """The Silver worker's memory over tens of millions of trades."""
        markets = self.given.markets or (1, 500)
        found = [memory.measure(self.given.trades, one, self.console.print) for one in markets]
        show_silver.memory(self.console, found)
        return found


@dataclass(frozen=True, slots=True)
class _Part:
    about: str
    measure: Callable[[_Bench], Any]
    in_all: bool = True


PARTS = {
    "latency": _Part("trade → candle at 1,000, 5,000 and 20,000 trades/s, layer by layer", _Bench.latency),
    "sustained": _Part("sustained rate from the raw topic to Gold, CPU a trade, memory", _Bench.sustained),
    "adr": _Part("ADR-009 to the letter under the same loads: rate, latency, CPU a trade", _Bench.adr),
    "idle": _Part("CPU of a stack without messages", _Bench.idle),
    "rederive": _Part("dry run of a re-derivation: rows/s, peak memory (`cold` has it too)", _Bench.rederive, False),
    "parts": _Part("active parts of each table during a minute at 5,000/s, or --hour", _Bench.parts, False),
    "views": _Part("the analyst's views over 500 markets with a month of minutes", _Bench.views, False),
    "stages": _Part("each stage on its own, and the fixed cost of a batch", _Bench.stages),
    "silver": _Part("the Silver worker and other ways to write it", _Bench.silver),
    "cold": _Part("offload of each layer, re-derivation", _Bench.cold),
    "series": _Part("bars: a provider's answers → current rows, beside an insert a row", _Bench.series),
    "live": _Part("the live producer on one core", _Bench.live),
    "serving": _Part("the page's service: messages, answers, a thousand clients, replays", _Bench.serving),
    "memory": _Part("the Silver worker's memory over tens of millions of trades (an hour)", _Bench.memory, False),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen measurements."""
    given = _parser().parse_args(argv)
    # This process asks and listens in some measurements. Its own pauses for garbage would count as latency.
    collect_rarely()
    # With --json, standard output has only the result.
    console = Console(stderr=given.json, width=120 if not sys.stdout.isatty() else None)
    bench = _Bench(given, _plan(given), console)
    baseline = json.loads(given.baseline.read_text(encoding="utf-8")) if given.baseline else None
    started = datetime.now(UTC)
    result: dict[str, Any] = {"at": started.isoformat(), "machine": machine.describe(), "plan": repr(bench.plan)}
    show.machine(console, result["machine"])
    began = time.monotonic()
    chosen = [name for name, part in PARTS.items() if part.in_all] if "all" in given.part else given.part
    kept = given.results / f"{started:%Y-%m-%dT%H-%M-%S}.json"
    for name in dict.fromkeys(chosen):
        try:
            result[name] = PARTS[name].measure(bench)
        except _FAILURES as failure:
            done = f"; what was measured before is in {kept}" if kept.exists() else ""
            console.print(f"[red]{name} was not measured:[/] {escape(str(failure))}{done}")
            return 1
        result["seconds"] = time.monotonic() - began
        result["load_average_after"] = machine.describe()["load_average"]
        result["figures"] = figures.figures(result)
        # Keep the result after every part, so that a later failure loses nothing.
        _keep(kept, result, baseline)
    show.grid(console, figures.goals_grid(result, baseline))
    if "adr" in result:
        show.grid(console, figures.beside_grid(result))
    console.print(f"\n{result['seconds']:.0f} s. Kept in {kept} and, as tables, in {kept.with_suffix('.md')}")
    if given.json:
        print(json.dumps(result, indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    each = "\n".join(
        f"  {name:10} {part.about}{'' if part.in_all else ' [by name only]'}" for name, part in PARTS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=(
            "Measure the pipeline on this machine. Without PART: every part that is not marked.\n"
            "This takes half an hour on two quiet cores.\n\n"
            f"parts:\n{each}\n\n"
            "one figure in about a minute:\n"
            "  python -m bench latency --rate 5000 --seconds 10 --runs 1\n"
            "  python -m bench sustained --runs 1\n"
            "  python -m bench latency adr --rate 1000 --runs 1\n"
            "  python -m bench serving --quick"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "part", nargs="*", default="all", choices=["all", *PARTS], metavar="PART", help="what to measure"
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each part")
    parser.add_argument("--rate", type=float, action="append", help="latency, adr, parts: trades/s; repeatable")
    parser.add_argument("--seconds", type=float, help="latency, sustained, adr, parts, idle: length of a run")
    parser.add_argument("--runs", type=int, help="runs of each measurement; results are medians")
    parser.add_argument("--rows", type=int, help="cold, rederive: trades in the cold tier")
    parser.add_argument("--hour", action="store_true", help="parts: measure an hour, a sample every 5 s")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="a kept result to compare with")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output, tables on standard error")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FOLDER", help="where results are kept")
    parser.add_argument("--trades", type=int, default=50_000_000, help="memory: number of trades")
    parser.add_argument("--markets", type=int, action="append", help="memory: markets; repeatable (default 1 and 500)")
    return parser


def _plan(given: argparse.Namespace) -> Plan:
    plan = QUICK if given.quick else FULL
    if given.runs:
        plan = replace(plan, runs=given.runs)
    if given.seconds:
        plan = replace(plan, seconds=given.seconds, idle_s=given.seconds)
    return replace(plan, cold_rows=given.rows) if given.rows else plan


def _keep(path: Path, result: dict[str, Any], baseline: dict[str, Any] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    path.with_suffix(".md").write_text(figures.markdown(result, baseline), encoding="utf-8")


if __name__ == "__main__":
    # As with Ctrl-C, an exception stops all processes that were started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(main())
