"""A live producer in a process of its own, which can be killed, and a reader of what it publishes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from config.settings import Settings
from producers.exchanges import exchange
from producers.exchanges.model import Trades

_SCRIPT = """
import asyncio, json, signal, sys
from pathlib import Path
from config.process.logs import configure
from config.symbols.markets import read_markets
from config.settings import Settings
from producers.options import ProducerOptions
from producers.exchanges import REGISTRY
from producers.exchanges.model import Rate
from producers.live import run

async def main():
    broker, url, rest, symbols, code, *markets = sys.argv[1:]
    if markets:
        REGISTRY.pop(code)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = ProducerOptions(back_off_s=0.05, healthy_after_s=0.0, close_s=0.2, idle_s=1.0, heal_after_s=0.05,
                    audit_s=0.3, breaker_open_s=0.3, requests=Rate(100, 1.0), lifetime_s=10.0, early_s=1.0, quiet_s=0.5)
    counters = await run(code, symbols.split(","), Settings(kafka_bootstrap_servers=broker), endpoint=url,
                       rest_endpoint=rest, options=options, stop=stop,
                       markets=read_markets(Path(markets[0])) if markets else None)
    gaps = counters.gaps
    print(json.dumps({"found": gaps.found, "healed": gaps.healed, "open": gaps.open, "unfillable": gaps.unfillable,
                      "published": counters.published, "rotations": counters.rotations,
                      "disconnects": counters.disconnects}))

configure("INFO", "producer")
asyncio.run(main())
"""


def start(
    code: str, symbols: list[str], settings: Settings, port: int, markets: Path | None = None
) -> subprocess.Popen[bytes]:
    """A producer of the simulator at that port, everything that waits in life being quicker. SIGTERM: its counters.

    `markets`: the exchange is read by ccxt, these being its markets.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, settings.kafka_bootstrap_servers, f"ws://127.0.0.1:{port}/{code}",
         f"http://127.0.0.1:{port}/{code}/rest", ",".join(symbols), code,
         *([] if markets is None else [str(markets)])],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def owned(code: str, recording: bytes) -> set[tuple[str, str]]:
    """Symbol and id of every trade in a recording."""
    known = exchange(code)
    return {
        (trade.symbol, trade.trade_id)
        for line in recording.splitlines()
        if isinstance(parsed := known.parse(line), Trades)
        for trade in parsed.records
    }


class Reader:
    """Reads the topics while they are written: the in-memory broker keeps little."""

    def __init__(self, settings: Settings, code: str) -> None:
        """Makes the topics."""
        self.trades: Counter[tuple[str, str]] = Counter()
        # Newest state of each gap, by what identifies its row.
        self.gaps: dict[tuple[str, int, str, int], dict[str, Any]] = {}
        self.states: list[str] = []
        self._gaps_topic = settings.gaps_topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": "reader",
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        # A producer that asks for a topic makes it. No group: joining one takes seconds.
        maker = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0})
        self._consumer.assign(
            [
                TopicPartition(topic, number, 0)
                for topic in (settings.raw_topic(code), settings.gaps_topic)
                for number in maker.list_topics(topic, timeout=10).topics[topic].partitions
            ]
        )

    def read(self) -> None:
        """Take what has come."""
        for message in self._consumer.consume(20_000, 0.05):
            if message.error() is not None:
                continue
            value = json.loads(message.value())
            if message.topic() != self._gaps_topic:
                if value["trade_id"]:
                    self.trades[value["symbol"], value["trade_id"]] += 1
                continue
            key = value["exchange_symbol"], value["detected_at"], value["from_id"], value["from_time"]
            self.states.append(value["state"])
            if key not in self.gaps or self.gaps[key]["noted_at"] <= value["noted_at"]:
                self.gaps[key] = value

    @property
    def open(self) -> list[dict[str, Any]]:
        """Gaps that are not healed."""
        return [gap for gap in self.gaps.values() if gap["state"] != "healed"]

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
