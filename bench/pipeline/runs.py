"""Runs one load on a running pipeline and watches it from outside. All end-to-end measurements use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from bench.load import LoadReport
from bench.pipeline.new_parts import NewParts
from bench.pipeline.visibility import PAUSE_S, Watcher
from bench.sampler import ProcessSampler
from bench.stack import Target, http_client, native_client
from config.clickhouse_arrow import select_arrow

_DRAIN_S = 120.0
_POLL_S = 0.05
# Distance of ids between loads. No load has as many trades of one market.
_IDS_A_RUN = 10_000_000
_COUNTED = (Path(__file__).with_name("sql") / "counted.sql").read_text(encoding="utf-8")
_runs = count(1)


class LoadError(RuntimeError):
    """Not every trade of a load has arrived exactly once. The message says where to look."""


@dataclass(frozen=True, slots=True)
class Run:
    """A load: its report, what the looks at the candles saw by market and in all, and the usage of the processes."""

    load: LoadReport
    looks: pl.DataFrame
    totals: pl.DataFrame
    sampler: ProcessSampler


def run_load(target: Target, rate: float, seconds: float, markets: int, pause_s: float | None = None) -> Run:
    """Publish trades, and wait until all are in the candles.

    Args:
        target: the pipeline.
        rate: trades/s; 0 for as many as possible.
        seconds: length of the load.
        markets: number of markets to which the trades are dealt out.
        pause_s: pause between two looks at the candles; None: a look follows each insert.

    Raises:
        LoadError: the generator failed, or the candles count fewer or more trades than were published.
    """
    argv = [sys.executable, "-m", "bench.load", "--rate", str(rate), "--seconds", str(seconds)]
    argv += ["--markets", str(markets), "--first-id", str(next(_runs) * _IDS_A_RUN)]
    environment = {**os.environ, **target.environment}
    parts = NewParts(target.folder(), target.partitions) if pause_s is None else None
    with (
        Watcher(native_client(target.settings), target.look, pause_s or PAUSE_S, parts) as watcher,
        subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as generator,
        ProcessSampler({**target.pids, "generator": generator.pid, "watcher": os.getpid()}) as sampler,
    ):
        before = _first_count(watcher)
        output, _ = generator.communicate(timeout=seconds + _DRAIN_S)
        if generator.returncode:
            raise LoadError(f"the load generator ended with exit code {generator.returncode}: see its message above")
        load = LoadReport(**json.loads(output.splitlines()[-1]))
        deadline = time.monotonic() + _DRAIN_S
        while watcher.trades < before + load.published:
            if time.monotonic() > deadline:
                raise LoadError(
                    f"{watcher.trades - before} of {load.published} trades are in the candles {_DRAIN_S:.0f} s after"
                    f" the load: see the logs in {target.logs}"
                )
            time.sleep(_POLL_S)
    counted = int(select(target, _COUNTED)["trades"][0])
    if counted != before + load.published:
        raise LoadError(
            f"the query view counts {counted} trades, and {before + load.published} were published. Figures of a"
            f" pipeline that loses or doubles trades mean nothing: see the logs in {target.logs}"
        )
    return Run(load, watcher.looks(), watcher.totals(), sampler)


def select(target: Target, query: str, **parameters: Any) -> pl.DataFrame:
    """Run a query over HTTP and return its rows."""
    client = http_client(target.settings)
    try:
        return pl.DataFrame(select_arrow(client, query, parameters))
    finally:
        client.close()


def _first_count(watcher: Watcher) -> int:
    """The trades that the candles count before this load, from earlier ones."""
    deadline = time.monotonic() + _DRAIN_S
    while not watcher.has_looked:
        if time.monotonic() > deadline:
            raise LoadError("ClickHouse did not answer the watcher")
        time.sleep(_POLL_S)
    return watcher.trades
