"""Measures how fast a contender works off a backlog, from the first trades in the candles to the last."""

from __future__ import annotations

import statistics
import time
from typing import Any

from bench.pipeline.visibility import Watcher
from bench.sampler import ProcessSampler
from bench.silver.contest import Contender, delivered
from bench.silver.feed import BronzeFeed, producer
from bench.silver.place import LOOK, Place, PlaceError

_POLL_S = 0.05
_TIMEOUT_S = 300.0
_PUBLISHED_ROWS = 65_536
_STEP_US = 50


def measure(place: Place, contender: Contender, feed: BronzeFeed, runs: int) -> dict[str, Any]:
    """Medians of `runs` runs. Each run has its own backlog and a new process."""
    each = [_one(place, contender, feed, number) for number in range(runs)]
    return {
        "contender": contender.name,
        "rows": contender.backlog,
        "rows_per_s": statistics.median(run["rows_per_s"] for run in each),
        "worker_cpu_us": statistics.median(run["worker_cpu_us"] for run in each),
        "clickhouse_cpu_us": statistics.median(run["clickhouse_cpu_us"] for run in each),
        "worker_peak_mb": max(run["worker_peak_mb"] for run in each),
        "runs": each,
    }


def _one(place: Place, contender: Contender, feed: BronzeFeed, number: int) -> dict[str, Any]:
    place.empty()
    if contender.topic(place) != place.settings.bronze_topic:
        place.new_topic(contender.topic(place))
    sender = producer(place.settings.kafka_bootstrap_servers)
    left = contender.backlog
    while left:
        rows = feed.take(min(left, _PUBLISHED_ROWS), time.time_ns() // 1_000, _STEP_US)
        contender.publish(place, sender, rows)
        left -= rows.height
    delivered(sender)
    argv = contender.argv(place, contender.topic(place))
    with (
        Watcher(place.client(), LOOK) as watcher,
        place.process(f"backlog-{number}", argv) as process,
        ProcessSampler({"worker": process.pid, "clickhouse": place.node_pid}) as sampler,
    ):
        deadline = time.monotonic() + _TIMEOUT_S
        while watcher.trades < contender.backlog:
            if process.poll() is not None or time.monotonic() > deadline:
                raise PlaceError(
                    f"{contender.name}: {watcher.trades} of {contender.backlog} trades in the candles, exit code"
                    f" {process.returncode}: {(place.folder / f'backlog-{number}.log').read_text()[-2_000:]}"
                )
            time.sleep(_POLL_S)
    looks = watcher.totals()
    before, after = looks.filter(looks["trades"] > 0).row(0, named=True), looks.row(-1, named=True)
    after = looks.filter(looks["trades"] == after["trades"]).row(0, named=True)
    # Trades of the first look were worked off before it. Only later ones are timed.
    start, end = before["seen"] / 1e6, after["seen"] / 1e6
    rows_timed = after["trades"] - before["trades"]
    usage, seconds = sampler.usage(start, end), sampler.seconds(start, end)
    rate = rows_timed / (end - start)
    return {
        "rows_per_s": rate,
        "worker_cpu_us": usage["worker"].cpu_s / seconds / rate * 1e6,
        "clickhouse_cpu_us": usage["clickhouse"].cpu_s / seconds / rate * 1e6,
        "worker_peak_mb": usage["worker"].peak_rss / 2**20,
    }
