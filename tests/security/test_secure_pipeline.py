"""The pipeline on a broker that wants TLS and a login, each process as the user that compose gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cli.common.lag import LagError, LagMeter
from config.connections import kafka_client
from config.settings import Settings
from deploy.embedded.ports import free_ports
from tests.certificates import Authority
from tests.security.acls import Asked, Grant
from tests.security.kafka import SecureKafka, create_users, grant
from tests.series.test_providers import dump
from tests.tls_relay import TlsRelay

pytestmark = pytest.mark.kafka
CLICKHOUSE_PASSWORD = "a-password-of-clickhouse"
BRONZE, DLQ = Settings().bronze_topic, Settings().dlq_topic
KRAKEN = Settings().raw_topic("kraken")
REFUSALS = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


def variables(settings: dict[str, Any]) -> dict[str, str]:
    return {f"MEDALLION_{name.upper()}": str(value) for name, value in settings.items()}


class Pipeline:
    """Processes of the pipeline, each with an environment of its own; their logs are in `folder`."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self._folder, self._processes = folder, processes

    def spawn(self, name: str, environment: dict[str, str], *arguments: str) -> None:
        log = self._processes.enter_context((self._folder / f"{name}.log").open("wb"))
        process = subprocess.Popen([sys.executable, *arguments], env=clean(environment), stdout=log, stderr=log)
        self._processes.callback(process.wait, 60)
        self._processes.callback(process.terminate)

    def run(self, environment: dict[str, str], *arguments: str) -> str:
        command = [sys.executable, "-m", "cli", *arguments]
        done = subprocess.run(command, env=clean(environment), capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "".join(f"\n{file.name}: {file.read_text()[-2000:]}" for file in self._folder.glob("*.log"))


def clean(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")} | environment


def wait_for(url: str) -> None:
    """Until it answers 200."""
    for attempt in Retrying(retry=retry_if_exception_type(OSError), stop=stop_after_delay(90), wait=wait_fixed(0.1)):
        with attempt, urllib.request.urlopen(url, timeout=5):
            pass


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def counted(pipeline: Pipeline, operator: dict[str, str]) -> dict[str, int]:
    """Rows of each layer once all is drained. Each raw message is in one place, each trade in one candle."""
    pipeline.run(operator, "drain")
    count = """SELECT (SELECT count() FROM trades_raw) AS raw, (SELECT count() FROM silver_trades) AS silver,
        (SELECT count() FROM duplicate_trades FINAL) AS duplicates, (SELECT count() FROM dlq_trades) AS dead,
        (SELECT sum(trade_count) FROM gold_ohlcv_1m) AS candles, (SELECT count() FROM producer_gaps) AS gaps,
        (SELECT count() FROM silver_trades WHERE toYear(timestamp) = 2025) AS backfilled"""
    answer = json.loads(pipeline.run(operator, "query", count, "--format", "JSONEachRow"))
    found = {name: int(number) for name, number in answer.items()}
    assert found["raw"] == found["silver"] + found["duplicates"] + found["dead"]
    assert found["silver"] == found["candles"] > 0
    return found


# Its siblings: test_tls.py and the tests below have each connection.
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_trades_and_dead_letters_pass_with_every_connection_encrypted_and_named(
    kafka: SecureKafka, asked: Asked, tmp_path: Path, processes: ExitStack, recordings: Path
) -> None:
    """Producer, ClickHouse, Silver, command line: SCRAM and TLS to the broker, password and TLS to ClickHouse."""
    native, http, metrics = free_ports(3)
    authority = Authority(tmp_path)
    context = authority.server_context()
    native_tls = processes.enter_context(TlsRelay(native, context))
    http_tls = processes.enter_context(TlsRelay(http, context))
    secret = tmp_path / "clickhouse-password"
    secret.write_text(f"{CLICKHOUSE_PASSWORD}\n")
    clickhouse = variables(
        {
            "clickhouse_host": "localhost",
            "clickhouse_port": native_tls.port,
            "clickhouse_http_port": http_tls.port,
            "clickhouse_tls": "true",
            "clickhouse_ca_file": authority.certificate,
            "clickhouse_password_file": secret,
            "clickhouse_kafka_brokers": "embedded",
        }
    )
    users = {user: variables(kafka.login(user, password)) for user, password in asked.passwords.items()}
    pipeline = Pipeline(tmp_path, processes)

    node = ("-m", "deploy.embedded.clickhouse", "--path", str(tmp_path / "store"), "--kafka-brokers", kafka.servers)
    node += ("--readable", str(tmp_path / "warehouse"))
    ports = ("--native-port", str(native), "--http-port", str(http), "--password-env", "MEDALLION_CLICKHOUSE_PASSWORD")
    password = {"MEDALLION_CLICKHOUSE_PASSWORD": CLICKHOUSE_PASSWORD}
    pipeline.spawn("node", users["clickhouse"] | password, *node, *ports)
    wait_for(f"http://127.0.0.1:{http}/ping")
    pipeline.run(clickhouse, "ddl", "apply")
    silver = users["silver"] | clickhouse | {"MEDALLION_METRICS_PORT": str(metrics)}
    pipeline.spawn("silver", silver, "-m", "silver_processor")
    wait_for(f"http://127.0.0.1:{metrics}/readyz")

    operator = users["operator"] | clickhouse | {"XDG_STATE_HOME": str(tmp_path / "state")}
    # The one file as a producer, the other as whoever sits at the command line.
    for told, name, exchange in (
        (users["producer"], "kraken_v2_btcusd.jsonl", "kraken"),
        (operator, "binance_bad_input.jsonl", "binance"),
    ):
        pipeline.run(told, "replay", str(recordings / name), "--exchange", exchange)
    # A trade id is missing, which is a message of its own topic.
    rows = "".join(f"{number},1,1,1,{1_735_689_600_000 + number},True,True\n" for number in (1, 2, 4))
    dump(tmp_path, "BTCUSDT-trades-2025-01-01", rows.encode())
    day = ("--from", "2025-01-01", "--to", "2025-01-02")
    pipeline.run(operator, "backfill", "--exchange", "binance", "--symbols", "BTCUSDT", *day, "--source", str(tmp_path))
    before = counted(pipeline, operator)
    assert before["dead"] > 0
    assert before["backfilled"] == 3
    assert before["gaps"] == 1
    assert [
        one["messages"] for one in json.loads(pipeline.run(operator, "status", "--json"))["lag"] if one["messages"]
    ] == []

    # By a limit of nearly nothing each trade is a dead letter, which the operator sends.
    symbols = tmp_path / "symbols.yaml"
    symbols.write_text(
        "version: 1\ndefaults: {price_max: 1000000, quantity_max: 100}\nexchanges:\n  binance:\n"
        "    BTCUSDT: {canonical: BTCUSDT, base: BTC, quote: USDT, quantity_max: 0.000001}\n"
    )
    operator |= variables(
        {
            "iceberg_catalog_uri": f"sqlite:///{tmp_path}/catalog.db",
            "iceberg_warehouse": (tmp_path / "warehouse").as_uri(),
            "symbols_file": symbols,
        }
    )
    pipeline.run(operator, "offload", "run", "--until-now")
    pipeline.run(operator, "rederive", "--exchange", "binance", *day)
    after = counted(pipeline, operator)
    assert after == before | {
        "silver": before["silver"] - 3,
        "candles": before["candles"] - 3,
        "dead": before["dead"] + 3,
        "backfilled": 0,
    }
    written = pipeline.logs()
    for word in (*asked.passwords.values(), CLICKHOUSE_PASSWORD):
        assert word not in written


def client(kafka: SecureKafka, user: str, asked: Asked, **changed: Any) -> dict[str, object]:
    login = kafka.login(user, asked.passwords.get(user, ""))
    return {**kafka_client(Settings(**(login | changed))), "log_level": 0}


def written(configuration: dict[str, object], topic: str) -> KafkaError | None:
    """What became of a message: None if it was acknowledged."""
    errors: list[KafkaError | None] = []
    producer = Producer({**configuration, "message.timeout.ms": 15_000, "acks": "all"})
    producer.produce(topic, b"{}", on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    return errors[0]


def read(configuration: dict[str, object], topic: str, group: str) -> KafkaError | None:
    """Why the topic cannot be read; None if its messages, or its end, came."""
    consumer = Consumer({**configuration, "group.id": group, "enable.partition.eof": True})
    try:
        unseen: KafkaError | None = consumer.list_topics(topic, timeout=30).topics[topic].error
        if unseen is not None:
            return unseen
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(30)
        assert message is not None, "no answer at all"
        error = message.error()
        return None if error is None or error.code() == KafkaError._PARTITION_EOF else error
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("user", "topic", "may_write", "may_read"),
    [
        ("producer", KRAKEN, True, False),
        ("producer", BRONZE, False, False),
        ("clickhouse", BRONZE, True, False),
        ("clickhouse", KRAKEN, False, True),
        ("silver", DLQ, True, False),
        ("silver", BRONZE, False, True),
        ("silver", KRAKEN, False, False),
        ("operator", DLQ, True, True),
        ("operator", KRAKEN, True, True),
        ("operator", Settings().gaps_topic, True, True),
        ("operator", BRONZE, False, True),
        ("console", KRAKEN, False, True),
        ("console", DLQ, False, True),
    ],
)
def test_the_broker_refuses_what_is_not_a_users_business(
    kafka: SecureKafka, asked: Asked, user: str, topic: str, may_write: bool, may_read: bool
) -> None:
    configuration = client(kafka, user, asked)
    groups = {"clickhouse": Settings().raw_consumer_group, "silver": Settings().silver_consumer_group}
    outcomes = {
        "write": (may_write, written(configuration, topic)),
        "read": (may_read, read(configuration, topic, groups.get(user, "somebody"))),
    }
    for doing, (allowed, error) in outcomes.items():
        if allowed:
            assert error is None, f"{user} cannot {doing} {topic}: {error}"
        else:
            assert error is not None, f"{user} can {doing} {topic}"
            assert error.code() in REFUSALS


def test_a_wrong_password_and_an_unknown_authority_are_refused(
    kafka: SecureKafka, asked: Asked, tmp_path: Path
) -> None:
    for changed in (
        {"kafka_sasl_password": "wrong"},
        {"kafka_sasl_username": "nobody"},
        {"kafka_ca_file": Authority(tmp_path).certificate},
        {"kafka_security_protocol": "SASL_PLAINTEXT"},
    ):
        consumer = Consumer({**client(kafka, "operator", asked, **changed), "group.id": "x"})
        with pytest.raises(KafkaException):
            consumer.list_topics(timeout=2)
        consumer.close()


def test_a_user_who_does_not_see_every_topic_cannot_tell_that_all_is_drained(kafka: SecureKafka, asked: Asked) -> None:
    """A hidden topic looks like none at all, which must not count as nothing waiting."""
    settings = Settings(**kafka.login("silver", asked.passwords["silver"]))
    with LagMeter(settings) as meter, pytest.raises(LagError, match=rf"user silver no topic .*{KRAKEN}"):
        meter.measure()


def test_the_stronger_mechanism(kafka: SecureKafka, asked: Asked) -> None:
    create_users(kafka, asked.passwords, "SCRAM-SHA-512")
    configuration = client(kafka, "silver", asked, kafka_sasl_mechanism="SCRAM-SHA-512")
    assert written(configuration, DLQ) is None


def test_the_job_of_a_broker_outside_makes_what_is_missing(kafka: SecureKafka) -> None:
    """docker-compose.kafka.yml's job `topics`, as a user who may create: with TLS and SCRAM, by the Kafka API alone."""
    create_users(kafka, {"admin": "a-password-of-admin"})
    grant(kafka, {Grant("admin", operation, "cluster", "kafka-cluster", False) for operation in ("create", "describe")})
    environment = variables(kafka.login("admin", "a-password-of-admin")) | {"MEDALLION_EXCHANGES": "kraken,gate"}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.compose.topics"],
        env=clean(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    topics = AdminClient({"bootstrap.servers": kafka.plain}).list_topics(timeout=30).topics
    assert len(topics[Settings(exchanges=("gate",)).raw_topic("gate")].partitions) == 4
