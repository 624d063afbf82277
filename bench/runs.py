"""One load on a running stack, watched from outside: what all end-to-end measurements are made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from typing import Any

import polars as pl
import pyarrow as pa

from bench.load import LoadReport
from bench.processes import ProcessSampler
from bench.stack import http_client, native_client, pids_of, settings_of
from bench.visibility import Watcher
from deploy.embedded.layout import StackState

_DRAIN_S = 120.0
_POLL_S = 0.05
# No load makes as many trades of one market.
_IDS_A_RUN = 10_000_000
_runs = count(1)


class LoadError(RuntimeError):
    """The load did not go through; the message says where to look."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a load did, what the candles showed, and what the processes used meanwhile."""

    load: LoadReport
    looks: pl.DataFrame
    sampler: ProcessSampler


def run_load(state: StackState, rate: float, seconds: float, markets: int) -> Run:
    """Publish `rate` trades a second (0: as many as go) for so many seconds and wait until all are in the candles.

    Raises:
        LoadError: the generator failed, or trades did not arrive.
    """
    argv = [sys.executable, "-m", "bench.load", "--rate", str(rate), "--seconds", str(seconds)]
    argv += ["--markets", str(markets), "--first-id", str(next(_runs) * _IDS_A_RUN)]
    with (
        Watcher(native_client(settings_of(state))) as watcher,
        subprocess.Popen(argv, env={**os.environ, **state.environment}, stdout=subprocess.PIPE, text=True) as generator,
        ProcessSampler({**pids_of(state), "generator": generator.pid, "watcher": os.getpid()}) as sampler,
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
                    f" the load: see the logs in {state.data_dir / 'logs'}"
                )
            time.sleep(_POLL_S)
    return Run(load, watcher.looks(), sampler)


def select(state: StackState, query: str, **parameters: Any) -> pl.DataFrame:
    """The rows of a query over HTTP."""
    client = http_client(settings_of(state))
    try:
        body = client.raw_query(query, parameters=parameters, fmt="ArrowStream")
        return pl.DataFrame(pa.ipc.open_stream(body).read_all())
    finally:
        client.close()


def _first_count(watcher: Watcher) -> int:
    """What earlier loads left in the candles, from before this one's first trade."""
    deadline = time.monotonic() + _DRAIN_S
    while watcher.looks().is_empty():
        if time.monotonic() > deadline:
            raise LoadError("ClickHouse did not answer the watcher")
        time.sleep(_POLL_S)
    return watcher.trades
