"""Input for single stages: frames, envelopes, raw and Bronze messages, and a broker."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import psutil
from confluent_kafka import Consumer, Message, TopicPartition

from bench.load import SOURCES
from bench.trades import TradeStream
from config.registry import SymbolRegistry
from config.settings import Settings
from producers.kafka.envelope import Envelope

MARKETS = 40
_START_S = 30.0
_POLL_S = 0.02


class MaterialError(RuntimeError):
    """A stage's input could not be made."""


def trades(rows: int, first_id: int) -> list[Envelope]:
    """Unique trades at the current time."""
    settings = Settings()
    stream = TradeStream.load(SOURCES, SymbolRegistry.load(settings.symbols_file), MARKETS, first_id)
    return stream.take(rows, time.time_ns() // 1_000)


@contextmanager
def broker() -> Iterator[tuple[str, psutil.Process]]:
    """Start an in-memory broker. Yields its address and its process."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        state = Path(folder) / "address"
        process = Popen([sys.executable, "-m", "deploy.embedded.broker", "--state", str(state)])
        try:
            deadline = time.monotonic() + _START_S
            while not state.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise MaterialError("the in-memory broker did not start: run `medallion up` to see why")
                time.sleep(_POLL_S)
            yield state.read_text(encoding="utf-8"), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def read_all(servers: str, topics: Sequence[str], count: int) -> list[Message]:
    """Read the first `count` messages of the topics.

    Raises:
        MaterialError: the messages do not arrive.
    """
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False})
    try:
        known = consumer.list_topics(timeout=_START_S).topics
        consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in known[topic].partitions])
        messages: list[Message] = []
        deadline = time.monotonic() + _START_S
        while len(messages) < count:
            if time.monotonic() > deadline:
                raise MaterialError(f"{len(messages)} of {count} messages came back from the broker")
            messages += [one for one in consumer.consume(count - len(messages), 0.1) if one.error() is None]
        return messages
    finally:
        consumer.close()
