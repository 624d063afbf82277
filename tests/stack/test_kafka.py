"""The stack on Apache Kafka: what a broker that keeps its log owes across stops and kills, and every recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from config.settings import Settings
from deploy.embedded.kafka import topics
from deploy.embedded.layout import PARTITIONS
from tests.recorded import OURS, Recorded
from tests.stack import truth
from tests.stack.compare import rows, silver_set, true_set
from tests.stack.conftest import Medallion, clean_environment
from tests.stack.test_recordings import GROUPS, assert_true_candles

pytestmark = [pytest.mark.stack, pytest.mark.kafka, pytest.mark.usefixtures("kafka")]

BRONZE = "market.crypto.trades.bronze"
KRAKEN_RAW = "market.crypto.trades.kraken.raw"


@pytest.fixture
def stack(kafka: None, tmp_path: Path, medallion: Medallion) -> Iterator[Path]:
    """The data folder of a fresh running stack on Kafka."""
    folder = tmp_path / "stack"
    medallion("up", "--broker", "kafka", "--data-dir", folder, "--detach")
    yield folder
    medallion("down", "--data-dir", folder, "--timeout", "0", check=False)


def state(folder: Path) -> dict[str, object]:
    """What the supervisor published last."""
    found: dict[str, object] = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
    return found


def service(folder: Path, name: str) -> dict[str, object]:
    """One process of it."""
    services = state(folder)["services"]
    assert isinstance(services, list)
    (found,) = (one for one in services if one["name"] == name)
    return dict(found)


def offsets(folder: Path, group: str, topic: str) -> dict[int, tuple[int, int]]:
    """Partition → committed offset of the group, high watermark."""
    environment = state(folder)["environment"]
    assert isinstance(environment, dict)
    servers = environment["MEDALLION_KAFKA_BOOTSTRAP_SERVERS"]
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        committed = consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=10)
        return {
            place.partition: (place.offset, consumer.get_watermark_offsets(TopicPartition(topic, place.partition))[1])
            for place in committed
        }
    finally:
        consumer.close()


@pytest.mark.nightly
@pytest.mark.parametrize("group", GROUPS)
def test_every_recording_gives_the_true_candles(
    stack: Path, medallion: Medallion, group: Mapping[str, Recorded]
) -> None:
    assert_true_candles(stack, medallion, group)


# Its sibling, on the in-memory broker: operation/test_lifecycle.py::test_down_leaves_no_process_and_loses_no_row.
@pytest.mark.nightly
def test_down_and_up_keep_topics_messages_and_offsets(stack: Path, medallion: Medallion, recordings: Path) -> None:
    """Nothing is read twice after a restart, and what was published while nobody read arrives after it."""
    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", stack)
    medallion("drain", "--data-dir", stack)
    environment, before = state(stack)["environment"], offsets(stack, "clickhouse_raw", KRAKEN_RAW)
    assert len(before) == 4
    assert sum(high for _, high in before.values()) == 52
    silver_before = offsets(stack, "silver", BRONZE)
    medallion("down", "--data-dir", stack)

    medallion("up", "--broker", "kafka", "--data-dir", stack, "--detach")
    after = state(stack)["environment"]
    assert isinstance(environment, dict)
    assert isinstance(after, dict)
    name = "MEDALLION_KAFKA_BOOTSTRAP_SERVERS"
    assert after[name] == environment[name], "clients outside the stack must find Kafka where it was"
    assert after["MEDALLION_PUBLISH_MAX_UNCONSUMED_BYTES"] == "0"
    assert offsets(stack, "clickhouse_raw", KRAKEN_RAW) == before
    assert offsets(stack, "silver", BRONZE) == silver_before
    medallion(
        "replay", recordings / "kraken_v2_btcusdt_synthetic.jsonl.gz", "--exchange", "kraken", "--data-dir", stack
    )
    medallion("drain", "--data-dir", stack)
    count = "SELECT count(), uniqExact(trade_id), (SELECT count() FROM duplicate_trades) FROM silver_trades"
    assert medallion("query", count, "--data-dir", stack).stdout.split() == ["452", "452", "49"]


# The storm on Apache Kafka kills the broker, too.
@pytest.mark.nightly
def test_a_broker_killed_during_a_replay_loses_nothing(stack: Path, medallion: Medallion, state_home: Path) -> None:
    """Invariant 1: every message that was acknowledged survives; the other processes reconnect, none starts over."""
    others = {name: service(stack, name)["pid"] for name in ("clickhouse", "silver-0")}
    recorded = OURS["binance_usdm_trades"]
    arguments = ("replay", recorded.path, "--exchange", recorded.code, "--data-dir", stack)
    replaying = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        env=clean_environment(state_home),
    )

    @retry(retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(60), wait=wait_fixed(0.02))
    def under_way() -> None:
        assert sum(high for _, high in offsets(stack, "x", "market.crypto.trades.binance_usdm.raw").values()) > 2_000

    under_way()
    victim = service(stack, "broker")["pid"]
    assert isinstance(victim, int)
    running = replaying.poll() is None
    os.kill(victim, signal.SIGKILL)
    assert running, "the replay had ended before the kill: nothing was tested"
    assert replaying.wait(120) == 0
    medallion("drain", "--data-dir", stack)

    assert service(stack, "broker")["pid"] != victim
    assert {name: service(stack, name)["pid"] for name in others} == others
    expected = truth.trades(recorded)
    silver = silver_set(medallion, stack)
    assert len(silver) == len(expected)
    assert set(silver) == true_set(expected)
    (candles,) = rows(medallion, stack, "SELECT sum(trade_count) AS n FROM gold_ohlcv_1m")
    assert candles["n"] == str(expected.select(pl.len()).item())
    medallion("lineage", "verify", "--data-dir", stack)


@pytest.mark.nightly
def test_bronze_gets_partitions_goes_and_comes_back_with_fewer(stack: Path, medallion: Medallion) -> None:
    """Nobody restarts anything: new partitions get an owner soon, and `status` says when there is nothing to own."""
    environment = state(stack)["environment"]
    assert isinstance(environment, dict)
    settings = Settings.from_environment(environment)
    servers = {"bootstrap.servers": settings.kafka_bootstrap_servers}
    admin, producer = AdminClient(servers), Producer(servers)
    for future in admin.create_partitions([NewPartitions(BRONZE, 6)]).values():
        future.result(30)
    producer.produce(BRONZE, value=b"no Bronze message", partition=5)
    assert producer.flush(30) == 0
    medallion("drain", "--timeout", "60", "--data-dir", stack)
    assert offsets(stack, "silver", BRONZE)[5] == (1, 1)

    for future in admin.delete_topics([BRONZE]).values():
        future.result(30)

    def status() -> tuple[int, str]:
        done = medallion("status", "--data-dir", stack, "--json", check=False)
        return done.returncode, done.stdout

    @retry(retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(60), wait=wait_fixed(0.5))
    def told() -> None:
        code, said = status()
        assert code == 1
        (silver,) = (one for one in json.loads(said)["services"] if one["name"] == "silver-0")
        assert silver["state"] == "unready"
        assert f"names no partitions of {BRONZE}" in silver["detail"]

    told()
    topics.create(settings)

    @retry(retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(60), wait=wait_fixed(0.5))
    def healthy() -> None:
        assert status()[0] == 0

    healthy()
    producer.produce(BRONZE, value=b"nor this", partition=3)
    assert producer.flush(30) == 0
    medallion("drain", "--timeout", "60", "--data-dir", stack)
    assert len(offsets(stack, "silver", BRONZE)) == PARTITIONS
    assert medallion("query", "SELECT count() FROM dlq_trades", "--data-dir", stack).stdout == "2\n"
    assert service(stack, "silver-0")["restarts"] == 0


def test_what_is_missing_is_named_before_anything_starts(tmp_path: Path, medallion: Medallion) -> None:
    """No Java, an old Java, no Maven, a folder that is no Kafka: each error says what to do."""
    tools = tmp_path / "bin"
    tools.mkdir()
    up = ("up", "--broker", "kafka", "--detach", "--data-dir", tmp_path / "stack")

    def refused(*more: str | Path, **settings: str) -> str:
        changed = {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache"), "JAVA_HOME": "", **settings}
        done = medallion(*up, *more, check=False, settings=changed)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    def tool(name: str, script: str) -> None:
        (tools / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tools / name).chmod(0o755)

    assert "no java on the PATH" in refused()
    tool("java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    assert "needs Java 17 or newer, but" in refused()
    tool("java", "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2")
    assert "no mvn on the PATH" in refused()
    assert "is no Apache Kafka 4" in refused("--kafka-home", tmp_path)
    assert "is no Apache Kafka 4" in refused(KAFKA_HOME=str(tmp_path))
    tool("mvn", "echo '[ERROR] Unknown host'; exit 1")
    offline = refused()
    assert "Maven could not fetch Kafka: [ERROR] Unknown host" in offline
    assert "--kafka-home" in offline
    assert not (tmp_path / "stack" / "stack.json").exists()
