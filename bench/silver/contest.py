"""The contenders: the topic of each, how trades get there, and the program that consumes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from confluent_kafka import Producer

from bench.silver.feed import ROWS_A_MESSAGE, avro, json_lines
from bench.silver.place import TRADES_TOPIC, Place

_OTHER_PYTHON = Path(__file__).resolve().parents[2] / ".venv-bench" / "bin" / "python"
_DELIVERED_S = 120.0


class UndeliveredError(RuntimeError):
    """The broker did not accept the trades to be measured."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to write the Silver worker.

    Attributes:
        topic: the topic from which it reads.
        messages: the messages of some Bronze rows.
        argv: its command line for a topic.
        backlog: how many trades it works off to measure its rate.
        paced: whether its latency is measured, too.
        cadence_s: then it gets a message at this interval.
    """

    name: str
    topic: Callable[[Place], str]
    messages: Callable[[pl.DataFrame], Sequence[bytes]]
    argv: Callable[[Place, str], Sequence[str]]
    backlog: int
    paced: bool
    cadence_s: float

    def publish(self, place: Place, producer: Producer, rows: pl.DataFrame) -> None:
        """Publish the rows as this contender's messages, to one partition."""
        topic = self.topic(place)
        for message in self.messages(rows):
            while True:
                try:
                    producer.produce(topic, value=message, partition=0)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)


def delivered(producer: Producer) -> None:
    """Wait until the broker has everything.

    Raises:
        UndeliveredError: it does not have everything after two minutes.
    """
    left = producer.flush(_DELIVERED_S)
    if left:
        raise UndeliveredError(f"the broker did not take {left} messages within {_DELIVERED_S:.0f} s")


def contenders(scale: float) -> list[Contender]:
    """All contenders, ours first. `scale` < 1 shortens the backlogs. Quix Streams needs `make bench`'s environment."""
    ours = Contender(
        "Medallion's worker",
        lambda place: place.settings.bronze_topic,
        lambda rows: [avro(part) for part in rows.iter_slices(ROWS_A_MESSAGE)],
        lambda _place, _topic: (sys.executable, "-m", "silver_processor"),
        backlog=round(2_000_000 * scale),
        paced=True,
        # The flush interval of the embedded stack: how often the worker gets a message at a low rate.
        cadence_s=0.05,
    )
    agent = (sys.executable, "obvious_faust")
    literal = _by_trade("obvious Faust agent, an insert a trade", *agent, round(400 * scale), "1")
    buffered = _by_trade("obvious Faust agent, 1,000 rows an insert", *agent, round(60_000 * scale), "1000")
    quix = _by_trade("Quix Streams", str(_OTHER_PYTHON), "quix", round(100_000 * scale))
    return [ours, literal, buffered, *([quix] if _OTHER_PYTHON.exists() else [])]


def _by_trade(name: str, python: str, program: str, backlog: int, *arguments: str) -> Contender:
    def argv(place: Place, topic: str) -> Sequence[str]:
        settings = place.settings
        endpoints = (settings.kafka_bootstrap_servers, topic, str(settings.clickhouse_port))
        module = f"bench.silver.contenders.{program}"
        return (python, "-m", module, *endpoints, settings.clickhouse_database, *arguments)

    return Contender(
        name,
        lambda _place: f"{TRADES_TOPIC}.{program}{'.'.join(arguments)}",
        lambda rows: list(json_lines(rows)),
        argv,
        backlog,
        paced=arguments != ("1",),
        cadence_s=0.002,
    )
