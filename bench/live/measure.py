"""Measures trades a second of the live producer on one core, and of a loop that only receives."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from websockets.asyncio.client import connect

from bench.isolated import isolated
from bench.live.firehose import MARKETS
from bench.load import SOURCES
from bench.plan import Plan
from bench.stages.material import MaterialError, broker
from config.registry import SymbolRegistry
from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import exchange
from producers.live import run
from producers.options import ProducerOptions

_START_S = 60.0
_POLL_S = 0.02
# The share of the frames that is left out at the beginning and at the end, where the rate is not sustained.
_MARGIN = 0.1


def measure(plan: Plan) -> dict[str, Any]:
    """Run the bare loop and the producer in turn.

    Returns medians of trades/s, their ratio, the producer's CPU a trade (µs), and `runs` with the figures of each run.
    """
    cores = sorted(psutil.Process().cpu_affinity())
    others = cores[1:] or cores
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "producer": []}
    with broker() as (servers, process), _firehose(plan.live_trades) as (url, sender):
        for each in (process, sender):
            each.cpu_affinity(others)
        for _ in range(plan.runs):
            runs["bare"].append(isolated(receive, url, plan.live_trades, cores[0]))
            runs["producer"].append(isolated(produce, url, servers, plan.live_trades, cores[0]))
    medians = {name: statistics.median(one["trades_per_s"] for one in laps) for name, laps in runs.items()}
    return {
        "trades": plan.live_trades,
        "trades_per_s": medians["producer"],
        "bare_trades_per_s": medians["bare"],
        "bare_to_producer": medians["bare"] / medians["producer"],
        "producer_to_bare_cpu": _cpu(runs["producer"]) / _cpu(runs["bare"]),
        "cpu_us_per_trade": _cpu(runs["producer"]),
        "runs": runs,
    }


def _cpu(laps: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(one["cpu_us_per_trade"] for one in laps)


def receive(url: str, trades: int, core: int) -> dict[str, float]:
    """The bare loop: the same library and socket, but every message is discarded."""
    process = psutil.Process()
    process.cpu_affinity([core])

    async def main() -> dict[str, float]:
        async with connect(url, compression=None, max_queue=(256, 64)) as socket:
            await socket.send("subscribe")
            clock = _Clock(process, trades)
            for number in range(trades):
                await socket.recv(decode=False)
                if number % 1_000 == 0:
                    clock.see(number)
            return clock.figures()

    return asyncio.run(main())


def produce(url: str, servers: str, trades: int, core: int) -> dict[str, float]:
    """Run the live producer like `medallion produce`, with gap detection, until the broker has everything."""
    process = psutil.Process()
    process.cpu_affinity([core])
    settings = Settings(kafka_bootstrap_servers=servers)
    clock = _Clock(process, trades)

    def until(counters: LiveCounters) -> bool:
        clock.see(counters.published)
        return counters.published >= trades

    # Every connection gets all frames, so the producer must not open a second one.
    options = ProducerOptions(quiet_s=0.0, resume_messages=0)
    counters = asyncio.run(run("binance", _symbols(settings), settings, endpoint=url, options=options, until=until))
    if counters.gaps.found or counters.published != trades:
        raise MaterialError(f"{counters.published} of {trades} trades published, {counters.gaps.found} found missing")
    return clock.figures()


class _Clock:
    """Measures trades and CPU of a run without its beginning and its end (`_MARGIN`)."""

    def __init__(self, process: psutil.Process, trades: int) -> None:
        self._process = process
        self._first, self._last = trades * _MARGIN, trades * (1 - _MARGIN)
        self._seen: list[tuple[float, float, int]] = []

    def see(self, trades: int) -> None:
        if self._first <= trades <= self._last:
            used = self._process.cpu_times()
            self._seen.append((time.perf_counter(), used.user + used.system, trades))

    def figures(self) -> dict[str, float]:
        if len(self._seen) < 2:
            raise MaterialError("the run was too short to measure: use more trades")
        (start_s, start_cpu, first), (end_s, end_cpu, last) = self._seen[0], self._seen[-1]
        trades = last - first
        return {
            "trades_per_s": trades / (end_s - start_s),
            "cpu_us_per_trade": (end_cpu - start_cpu) / trades * 1e6,
            "core_share": (end_cpu - start_cpu) / (end_s - start_s),
        }


def _symbols(settings: Settings) -> list[str]:
    code = SOURCES[0].exchange
    known = SymbolRegistry.load(settings.symbols_file).content.exchanges[code]
    assert exchange(code).symbols_a_connection >= MARKETS
    return sorted(known)[:MARKETS]


@contextmanager
def _firehose(frames: int) -> Iterator[tuple[str, psutil.Process]]:
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        state = Path(folder) / "url"
        argv = [sys.executable, "-m", "bench.live.firehose", "--frames", str(frames), "--state", str(state)]
        process = subprocess.Popen(argv)
        try:
            deadline = time.monotonic() + _START_S
            while not state.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise MaterialError("the firehose did not start: run `python -m bench.live.firehose` to see why")
                time.sleep(_POLL_S)
            yield state.read_text(encoding="ascii"), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()
