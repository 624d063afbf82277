"""The load generator, which runs in its own process: `python -m bench.load --rate 5000 --seconds 20`.

It publishes through `producers.kafka.publisher.KafkaPublisher` to the broker of `MEDALLION_KAFKA_BOOTSTRAP_SERVERS`.
A trade's `received_at` is the time at which it was *due*. So if the generator is late, the measured latency is longer
and not too short. It prints the line `ready` when it starts to publish, and its report as JSON at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.trades import Source, TradeStream
from config.process.garbage import collect_rarely
from config.registry import SymbolRegistry
from config.settings import Settings
from producers.kafka.publisher import KafkaPublisher

_SLICE_S = 0.002
_SLICE_TRADES = 1_000
RECORDINGS = Path(__file__).resolve().parents[1] / "tests" / "recordings"
SOURCES = (
    Source("binance", RECORDINGS / "binance_spot_trades.jsonl.gz"),
    Source("binance_usdm", RECORDINGS / "binance_usdm_trades.jsonl.gz"),
)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The trades published between `started` and `ended` (`time.time()`), and how far the generator was behind."""

    published: int
    started: float
    ended: float
    most_behind_s: float


def publish(stream: TradeStream, publisher: KafkaPublisher, rate: float, seconds: float) -> LoadReport:
    """Publish `rate` trades a second for `seconds`. Rate 0 publishes as many as publisher and broker accept."""
    started = time.time()
    published, most_behind = 0, 0.0
    while (now := time.time()) < started + seconds:
        if rate:
            due = started + published / rate
            if due > now:
                publisher.poll(0)
                # librdkafka waits in whole ms; polling for less would spin.
                time.sleep(due - now)
                continue
            most_behind = max(most_behind, now - due)
            count = max(round(rate * _SLICE_S), 1)
        else:
            due, count = now, _SLICE_TRADES
        publisher.publish(stream.take(count, int(due * 1e6)))
        published += count
    return LoadReport(published, started, time.time(), most_behind)


def main() -> int:
    """Publish, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--rate", type=float, default=0.0, help="trades a second; 0 for as many as possible")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--markets", type=int, default=40)
    parser.add_argument(
        "--first-id", type=int, default=1, help="first trade id; two loads on one stack must not share ids"
    )
    given = parser.parse_args()
    settings = Settings.from_environment(os.environ)
    stream = TradeStream.load(SOURCES, SymbolRegistry.load(settings.symbols_file), given.markets, given.first_id)
    with KafkaPublisher(settings) as publisher:
        collect_rarely()  # as a live producer does
        print("ready", flush=True)
        report = publish(stream, publisher, given.rate, given.seconds)
    print(json.dumps(asdict(report)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
