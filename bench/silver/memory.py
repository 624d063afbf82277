"""Checks that the worker's memory stays flat over tens of millions of trades."""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from bench.silver.contest import Contender, contenders, delivered
from bench.silver.feed import BronzeFeed, Market, producer
from bench.silver.place import Place, PlaceError, open_place
from deploy.embedded.ports import LOOPBACK, free_ports

_PUBLISHED_ROWS = 65_536
# How many trades are published ahead: enough that the worker never waits, few enough to keep Kafka's log small.
_MOST_AHEAD = 2_000_000
_STEP_US = 5_000
_POLL_S = 0.25
_STALLED_S = 300.0
_FIFTH = 5
_INDEX = "medallion_silver_index_bytes "
_VALID = "medallion_silver_valid_total "


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident memory of the worker and ClickHouse, and size of the worker's index, after some trades; bytes."""

    trades: int
    worker_rss: int
    clickhouse_rss: int
    index: int


def measure(trades: int, markets: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Feed `trades` unique trades of `markets` symbols, 5 ms apart and with consecutive ids, to one worker.

    `fifths` has the peak memory (MiB) during each fifth of the trades. Memory is flat if they are alike.

    Raises:
        StackError: Apache Kafka cannot be started here.
        PlaceError: the worker ended, or made no progress for five minutes.
    """
    listed = [Market("binance", f"S{number:04}USDT") for number in range(markets)]
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        symbols_file = Path(folder) / "symbols.yaml"
        symbols_file.write_text(_registry(listed), encoding="utf-8")
        with open_place(symbols_file) as place:
            samples = _run(place, BronzeFeed(listed), trades, tell)
    size = trades / _FIFTH
    return {
        "trades": trades,
        "markets": markets,
        "fifths": [
            _most([one for one in samples if number * size < one.trades <= (number + 1) * size])
            for number in range(_FIFTH)
        ],
    }


def _run(place: Place, feed: BronzeFeed, trades: int, tell: Callable[[str], None]) -> list[Sample]:
    ours: Contender = contenders(1.0)[0]
    sender = producer(place.settings.kafka_bootstrap_servers)
    (port,) = free_ports(1)
    samples: list[Sample] = []
    started_us = time.time_ns() // 1_000 - trades * _STEP_US
    published, told, moved = 0, 0, time.monotonic()
    with place.process("worker", ours.argv(place, ""), MEDALLION_METRICS_PORT=str(port)) as process:
        worker, node = psutil.Process(process.pid), psutil.Process(place.node_pid)
        while not samples or samples[-1].trades < trades:
            if process.poll() is not None or time.monotonic() - moved > _STALLED_S:
                raise PlaceError(f"worker stalled or ended: {(place.folder / 'worker.log').read_text()[-2_000:]}")
            done, index = _progress(port)
            if not samples or done > samples[-1].trades:
                moved = time.monotonic()
            samples.append(Sample(done, worker.memory_info().rss, node.memory_info().rss, index))
            if done - told >= trades // 20:
                told = done
                tell(f"{done:,} trades: worker {samples[-1].worker_rss >> 20} MiB, index {index:,} bytes")
            if published < trades and published - done < _MOST_AHEAD:
                rows = feed.take(min(_PUBLISHED_ROWS, trades - published), started_us + published * _STEP_US, _STEP_US)
                ours.publish(place, sender, rows)
                published += rows.height
            else:
                time.sleep(_POLL_S)
        delivered(sender)
    return samples


def _progress(port: int) -> tuple[int, int]:
    """The number of trades inserted and the size of the index (bytes); zeros while the worker starts."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0, 0
    found = {name: line.removeprefix(name) for line in lines for name in (_VALID, _INDEX) if line.startswith(name)}
    return round(float(found[_VALID])), round(float(found[_INDEX]))


def _most(samples: list[Sample]) -> dict[str, Any]:
    return {
        "worker_mb": max(one.worker_rss for one in samples) >> 20,
        "clickhouse_mb": max(one.clickhouse_rss for one in samples) >> 20,
        "index_bytes": max(one.index for one in samples),
    }


def _registry(markets: list[Market]) -> str:
    listed = {one.symbol: {"canonical": one.symbol, "base": one.symbol[:-4], "quote": "USDT"} for one in markets}
    document = {
        "version": 1,
        "defaults": {"price_max": 1_000_000, "quantity_max": 100_000},
        "exchanges": {"binance": listed},
    }
    return yaml.safe_dump(document)
