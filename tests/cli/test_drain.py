"""`medallion drain` never calls a message arrived that the broker deleted before it was read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner, Result

from cli.common import lag
from cli.main import app
from config.settings import Settings

RAW = Settings().raw_topics[0]
# The broker keeps 5 MiB of a partition.
MESSAGES, BYTES = 8, 900_000


@pytest.fixture
def first_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The oldest message that a broker has left of `MESSAGES`, after it deleted those before it."""
    cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = cluster.list_topics(RAW, timeout=30).brokers.values()
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", f"{broker.host}:{broker.port}")
    for _ in range(MESSAGES):
        cluster.produce(RAW, value=bytes(BYTES), partition=0)
    assert cluster.flush(30) == 0
    group = observer()
    first, end = group.get_watermark_offsets(TopicPartition(RAW, 0), timeout=30)
    group.close()
    assert (1 < first < end, end) == (True, MESSAGES), "the broker deleted nothing: nothing is tested"
    yield first
    cluster.flush(0)


def observer() -> Consumer:
    settings = Settings()
    servers = settings.kafka_bootstrap_servers
    return Consumer({"bootstrap.servers": servers, "group.id": settings.raw_consumer_group, "log_level": 0})


def commit(offset: int) -> None:
    """The group of ClickHouse has read the messages before `offset`."""
    group = observer()
    group.commit(offsets=[TopicPartition(RAW, 0, offset)], asynchronous=False)
    group.close()


def drain(*more: str) -> Result:
    return CliRunner().invoke(app, ["drain", *more])


def test_messages_that_were_deleted_unread_are_named(first_left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(1)
    done = drain("--timeout", "0", "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["drained"]) == (1, False)
    (gone,) = said["deleted"]
    assert (gone["topic"], gone["committed"], gone["low_watermark"]) == (RAW, 1, first_left)

    # The group goes on behind them while the command waits: the broker no longer tells, and the command still does.
    monkeypatch.setattr(lag, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _s: commit(MESSAGES)))
    done = drain("--timeout", "60")
    assert done.exit_code == 1
    assert "Deleted by the broker before they were read" in done.stdout
    assert "medallion backfill" in done.output
    assert "Not drained" not in done.output
    assert "Drained" not in done.output


def test_what_the_broker_cannot_tell_is_not_claimed(first_left: int) -> None:
    """A group without a commit may have read everything that was deleted: commits expire."""
    never = json.loads(drain("--timeout", "0", "--json").stdout)
    assert never["deleted"] == []
    assert [(one["committed"], one["high_watermark"]) for one in never["behind"]] == [(first_left, MESSAGES)]
    commit(MESSAGES)
    done = drain("--timeout", "0")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "every message that the broker kept has reached its end" in said
    assert "`medallion lineage verify` names those that it deleted unread" in said


def test_an_offset_past_the_end_is_neither_drained_nor_zero(first_left: int) -> None:
    """As after a topic was deleted and made again: nothing of the log was read."""
    commit(MESSAGES + 3)
    done = drain("--timeout", "0", "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["drained"], said["behind"]) == (1, False, [])
    assert [(one["committed"], one["high_watermark"]) for one in said["past_end"]] == [(MESSAGES + 3, MESSAGES)]
    for command in (("drain", "--timeout", "0"), ("status",)):
        done = CliRunner().invoke(app, [*command])
        assert "Committed past the end of the log" in done.stdout, command
        assert "set the offset back" in done.stderr
        assert "Drained" not in done.output
    (raw,) = (one for one in json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["lag"] if one["past_end"])
    assert (raw["topic"], raw["messages"], raw["past_end"]) == (RAW, 0, 3)
