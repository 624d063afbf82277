"""How far each consumer group is behind its topics, and how to wait until none is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from confluent_kafka import Consumer, KafkaException

from cli.common.context import err, print_table
from config.errors import MedallionError
from config.settings import Settings
from silver_processor.group.backlog import backlog, group_observer

TIMEOUT_S = 10.0
POLL_S = 0.1
_PAST_END = (
    "The topic was made again, or the broker has lost the end of its log. No message of it counts as behind, and "
    "Silver skips every one before the committed offset: set the offset back (docs/runbooks/alerts.md, Consumer lag)."
)


class LagError(MedallionError):
    """The broker did not answer; the message says what to check."""


@dataclass(frozen=True)
class Lag:
    """Messages of one partition that its consumer group has not finished with."""

    stage: str
    topic: str
    partition: int
    committed: int
    low_watermark: int
    high_watermark: int

    @property
    def messages(self) -> int:
        """High watermark less committed offset; for a group without a commit, all messages that are kept."""
        return max(0, self.high_watermark - self.committed)

    @property
    def deleted(self) -> int:
        """Messages that the broker deleted although the group had not finished with them; 0 without a commit."""
        return max(0, self.low_watermark - self.committed)

    @property
    def past_end(self) -> int:
        """By how much the committed offset lies past the end of the log, as after a topic was deleted and made again.

        `messages` is 0 then, although the group has read nothing of the log.
        """
        return max(0, self.committed - self.high_watermark)


def stages(settings: Settings) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """(name, consumer group, topics) of each stage, in the order in which a trade passes them."""
    return (
        ("raw → bronze", settings.raw_consumer_group, settings.raw_topics),
        ("bronze → silver", settings.silver_consumer_group, (settings.bronze_topic,)),
        ("dead letters", settings.dlq_consumer_group, (settings.dlq_topic,)),
    )


class LagMeter:
    """Asks the broker for offsets; with one consumer for each group, as only a member can ask for committed offsets."""

    def __init__(self, settings: Settings) -> None:
        self._servers = settings.kafka_bootstrap_servers
        self._user = settings.kafka_sasl_username if settings.kafka_has_sasl else ""
        self._stages = [(name, group_observer(settings, group), topics) for name, group, topics in stages(settings)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _name, consumer, _topics in self._stages:
            consumer.close()

    def measure(self) -> list[Lag]:
        """The lag of every partition now, upstream stages first.

        A stage commits only after its output is durable downstream. Read in this order, an all-zero answer therefore
        means that everything published before the call has reached its end.

        Raises:
            LagError: the broker does not answer, or hides a topic from this user.
        """
        try:
            return [lag for name, consumer, topics in self._stages for lag in self._lags(name, consumer, topics)]
        except KafkaException as error:
            raise LagError(
                f"The broker at {self._servers} does not answer ({error.args[0]}): "
                "is it running? `medallion doctor` looks at every part."
            ) from error

    def _lags(self, name: str, consumer: Consumer, topics: Iterable[str]) -> list[Lag]:
        found = backlog(consumer, topics, TIMEOUT_S)
        # A broker hides topics that a user may not describe. Counted as empty, they would pass for drained.
        hidden = sorted(set(topics) - {place.topic for place in found}) if self._user else []
        if hidden:
            raise LagError(
                f"The broker at {self._servers} shows the user {self._user} no topic {', '.join(hidden)}: ask as one "
                "who may describe all of them (compose: `docker compose run --rm medallion …`), or create them."
            )
        return [Lag(name, place.topic, place.partition, place.committed, place.first, place.end) for place in found]


def print_past_end(lags: Iterable[Lag]) -> None:
    """Print the partitions with `Lag.past_end`, and what to do about them; nothing if there are none."""
    found = [(x.stage, x.topic, x.partition, x.committed, x.high_watermark) for x in lags if x.past_end]
    if found:
        print_table("Committed past the end of the log", ("stage", "topic", "partition", "committed", "end"), found)
        err.print(_PAST_END, soft_wrap=True)


def wait(settings: Settings, timeout_s: float, watch: Callable[[list[Lag]], None]) -> list[Lag]:
    """Wait until every stage has caught up; returns the partitions that have not after `timeout_s` (none: drained).

    Raises:
        LagError: the broker does not answer.
    """
    deadline = time.monotonic() + timeout_s
    with LagMeter(settings) as meter:
        while True:
            lags = meter.measure()
            watch(lags)
            behind = [lag for lag in lags if lag.messages]
            if not behind or time.monotonic() >= deadline:
                return behind
            time.sleep(POLL_S)
