"""Measures a contender's latency at a rate, from a published Bronze message to its trades in the candles."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl

from bench.pipeline.journeys import with_visibility
from bench.pipeline.visibility import Watcher
from bench.plan import Plan
from bench.silver.contest import Contender, delivered
from bench.silver.feed import BronzeFeed, producer
from bench.silver.place import LOOK, Place, PlaceError, wait_until
from offload.clickhouse.client import ClickHouseHttp

_TIMES = (Path(__file__).with_name("sql") / "silver_times.sql").read_text(encoding="utf-8")
_US = 1_000_000
# A contender that needs longer after the load does not keep up, and its latencies mean nothing.
_CATCH_UP_S = 30.0
_POLL_S = 0.02
_WARM_ROWS = 100


def measure(place: Place, contender: Contender, feed: BronzeFeed, rate: float, plan: Plan) -> dict[str, Any]:
    """p50 and p99 (ms) over `plan.seconds` after `plan.warm_up_s`; None if the contender does not keep up."""
    place.empty()
    if contender.topic(place) != place.settings.bronze_topic:
        place.new_topic(contender.topic(place))
    sender = producer(place.settings.kafka_bootstrap_servers)
    argv = contender.argv(place, contender.topic(place))
    figures: dict[str, Any] = {"contender": contender.name, "rate": rate, "p50_ms": None, "p99_ms": None}
    with Watcher(place.client(), LOOK) as watcher, place.process(f"paced-{rate:.0f}", argv) as process:
        contender.publish(place, sender, feed.take(_WARM_ROWS, time.time_ns() // 1_000))
        delivered(sender)
        wait_until(lambda: watcher.trades >= _WARM_ROWS, contender.name, process)
        start, published = time.time(), 0
        every = max(round(rate * contender.cadence_s), 1)
        seconds = plan.warm_up_s + plan.seconds
        while (now := time.time()) < start + seconds:
            due = start + published / rate
            if due > now:
                sender.poll(0)
                time.sleep(due - now)
                continue
            contender.publish(place, sender, feed.take(every, int(due * _US)))
            published += every
        end = time.time()
        delivered(sender)
        deadline = time.monotonic() + _CATCH_UP_S
        while watcher.trades < published + _WARM_ROWS:
            if process.poll() is not None:
                raise PlaceError(f"{contender.name} ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                return {**figures, "reached_per_s": (watcher.trades - _WARM_ROWS) / (time.time() - start)}
            time.sleep(_POLL_S)
    client = ClickHouseHttp(place.settings)
    rows = client.rows(_TIMES, {"start": int((start + plan.warm_up_s) * _US), "end": int(end * _US)})
    client.close()
    seen = with_visibility(pl.DataFrame(rows), watcher.looks())
    took = (seen["visible"] - seen["due"]) / 1_000
    return {
        **figures,
        "p50_ms": took.quantile(0.5, "nearest"),
        "p99_ms": took.quantile(0.99, "nearest"),
        "reached_per_s": seen.height / plan.seconds,
        "inserts_per_s": seen["validated"].n_unique() / plan.seconds,
    }
