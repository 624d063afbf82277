"""Invariants: what is taken arrives, keyed and in its exchange's topic; what does not arrive is an error."""

from __future__ import annotations

import base64
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message
from pydantic import ValidationError

from cli.main import main
from config.process import logs
from config.settings import Settings
from producers import metrics
from producers.exchanges.model import Trade, Trades
from producers.kafka import publisher as publisher_module
from producers.kafka.envelope import Envelope, envelopes
from producers.kafka.publisher import DeliveryError, KafkaPublisher
from producers.kafka.repeats import Repeats
from tests.producers.exchange import trade


def envelope(number: int = 0, *, exchange: str = "binance", symbol: str = "BTCUSDT", payload: str = "{}") -> Envelope:
    (made,) = envelopes(exchange, b"", Trades([Trade(symbol, str(number), "1.50", "2", "1", "BUY", "", payload)]), 1)
    return made


def dead_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_messages_arrive_once_keyed_in_the_topic_of_their_exchange(
    settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    sent = [envelope(number, symbol="ETHUSDT" if number % 3 else "BTCUSDT") for number in range(5_000)]
    other = [envelope(1, exchange="kraken", symbol="BTC/USD"), envelope(2, exchange="mtgox")]
    with KafkaPublisher(settings) as publisher:
        publisher.publish(sent)
        publisher.publish(other)
        publisher.flush()
        statistics = publisher.statistics
    assert (statistics.accepted, statistics.delivered, statistics.buffered, statistics.failed) == (5_002, 5_002, 0, 0)
    messages = consume("market.crypto.trades.binance.raw")
    values = [json.loads(message.value()) for message in messages]
    assert sorted(int(value["trade_id"]) for value in values) == list(range(5_000))
    keys = {(message.key(), value["symbol"]) for message, value in zip(messages, values, strict=True)}
    assert keys == {(b"binance:BTCUSDT", "BTCUSDT"), (b"binance:ETHUSDT", "ETHUSDT")}
    assert [message.key() for message in consume("market.crypto.trades.kraken.raw")] == [b"kraken:BTC/USD"]
    assert [message.key() for message in consume("market.crypto.trades.unlisted.raw")] == [b"mtgox:BTCUSDT"]


def test_a_broker_that_is_not_there_is_an_error_that_says_what_to_do() -> None:
    settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{dead_port()}")
    publisher = KafkaPublisher(settings, delivery_timeout_s=0)
    publisher.publish([envelope(number) for number in range(10)])
    with pytest.raises(DeliveryError, match=r"10 of 10 .*MEDALLION_KAFKA_BOOTSTRAP_SERVERS"):
        publisher.close(timeout_s=0.5)


def test_messages_given_up_are_counted_and_stop_the_publisher() -> None:
    settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{dead_port()}")
    publisher = KafkaPublisher(settings, delivery_timeout_s=0.5)
    counted = metrics.DELIVERY_ERRORS.labels(envelope().exchange)._value
    before = counted.get()
    publisher.publish([envelope(number) for number in range(10)])
    with pytest.raises(DeliveryError, match="10 of 10 messages were not delivered"):
        publisher.flush(timeout_s=20)
    assert publisher.statistics.failed == counted.get() - before == 10
    with pytest.raises(DeliveryError):
        publisher.publish([envelope()])


def test_a_full_buffer_takes_no_more_and_forgets_nothing() -> None:
    settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{dead_port()}")
    publisher = KafkaPublisher(settings, delivery_timeout_s=0)
    some = [envelope(number, payload="x" * 10_000) for number in range(1_000)]
    taken = 0
    while (now := publisher.offer(some)) == len(some):
        taken += now
    taken += now
    assert publisher.offer(some) == 0
    assert publisher.statistics.accepted == publisher.statistics.buffered == taken
    with pytest.raises(DeliveryError, match=f"{taken} of {taken}"):
        publisher.close(timeout_s=0.1)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Answered as Python does, whatever an earlier test of this process has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_signal_that_comes_while_acknowledgements_are_served_is_not_lost(broker: str) -> None:
    for serve in (lambda publisher: publisher.poll(10), lambda publisher: publisher.flush()):
        with KafkaPublisher(Settings(kafka_bootstrap_servers=broker)) as publisher, pytest.raises(KeyboardInterrupt):
            offer_and_serve(publisher, serve)


def offer_and_serve(publisher: KafkaPublisher, serve: Callable[[KafkaPublisher], object]) -> None:
    """A poll may return before the acknowledgement is there."""
    publisher.offer([envelope()], acknowledged=lambda: signal.raise_signal(signal.SIGINT))
    for _ in range(10):
        serve(publisher)


def test_a_message_over_the_limit_arrives_cut(broker: str, consume: Callable[[str], list[Message]]) -> None:
    settings = Settings(kafka_bootstrap_servers=broker, kafka_max_message_bytes=1_000_000)
    with KafkaPublisher(settings) as publisher:
        publisher.publish([envelope(1, payload='"' * 900_000), envelope(2)])
        publisher.flush()
        assert publisher.statistics.shortened == 1
    values = [json.loads(message.value()) for message in consume("market.crypto.trades.binance.raw")]
    assert sorted(value["trade_id"] for value in values) == ["1", "2"]
    assert all(set(value["payload"]) <= set('"{}') for value in values)


def raw_consumer(settings: Settings) -> Consumer:
    """The group that reads the raw topic of Binance, as ClickHouse does."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.raw_consumer_group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([settings.raw_topic("binance")])
    return consumer


def test_a_message_over_the_bound_of_unconsumed_bytes_arrives_cut(broker: str) -> None:
    """The in-memory broker loses a batch of more than 5 MiB and the one after it, and tells nobody."""
    settings = Settings(kafka_bootstrap_servers=broker, publish_max_unconsumed_bytes=2_500_000)
    large = base64.b64encode(random.Random(1).randbytes(5_000_000)).decode()
    waiting = [envelope(1), envelope(2), envelope(3, payload=large), envelope(4), envelope(5)]
    consumer, arrived = raw_consumer(settings), []
    deadline = time.monotonic() + 20
    with KafkaPublisher(settings) as publisher:
        while len(arrived) < 5 and time.monotonic() < deadline:
            waiting = waiting[publisher.offer(waiting[:1]) :]
            publisher.poll(0.1)
            messages = [message for message in consumer.consume(20, 0.1) if message.error() is None]
            if messages:
                arrived += [json.loads(message.value()) for message in messages]
                consumer.commit(asynchronous=False)
        assert publisher.statistics.shortened == 1
    consumer.close()
    assert [one["trade_id"] for one in arrived] == ["1", "2", "3", "4", "5"]
    assert large.startswith(arrived[2]["payload"])
    assert len(arrived[2]["payload"]) > Settings().max_message_bytes, "Bronze shall name it message_too_large"


def test_a_bound_without_room_for_a_cut_message_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"MEDALLION_PUBLISH_MAX_UNCONSUMED_BYTES is 0 .*, or at least 100000"):
        Settings(publish_max_unconsumed_bytes=65_536)


def test_publishing_stands_still_until_the_consumers_have_caught_up(broker: str) -> None:
    bound = 100_000
    settings = Settings(kafka_bootstrap_servers=broker, publish_max_unconsumed_bytes=bound)
    many = [envelope(number, payload="x" * 1_000) for number in range(500)]
    publisher = KafkaPublisher(settings)
    consumer = raw_consumer(settings)
    taken = publisher.offer(many)
    publisher.poll(0.5)
    assert 0 < taken < len(many)
    assert publisher.offer(many[taken:]) == 0
    assert publisher.statistics.bytes <= bound
    seen = 0
    most_ahead = 0
    deadline = time.monotonic() + 30
    while seen < len(many) and time.monotonic() < deadline:
        messages = [message for message in consumer.consume(20, 0.05) if message.error() is None]
        if messages:
            seen += len(messages)
            consumer.commit(asynchronous=False)
        taken += publisher.offer(many[taken:])
        most_ahead = max(most_ahead, taken - seen)
    assert seen == taken == len(many)
    assert most_ahead * 1_000 <= bound
    consumer.close()
    publisher.close()


BROKER = """
import sys, time
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
address = next(iter(cluster.list_topics(timeout=10).brokers.values()))
print(f"{address.host}:{address.port}", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mortal_broker() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A broker in a process of its own, to be killed."""
    with subprocess.Popen(
        [sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


@pytest.mark.parametrize("bound", [pytest.param(0, marks=pytest.mark.nightly), 100_000], ids=["unbounded", "bounded"])
def test_a_replay_whose_broker_goes_away_ends_and_says_what_arrived(
    mortal_broker: tuple[str, subprocess.Popen[str]],
    bound: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Bounded, nothing is sent that could time out: the consumers' offsets are waited for, which nobody answers."""
    address, process = mortal_broker
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", address)
    monkeypatch.setenv("MEDALLION_PUBLISH_MAX_UNCONSUMED_BYTES", str(bound))
    monkeypatch.setattr(publisher_module, "UNREACHABLE_S", 2.0)
    monkeypatch.setattr(publisher_module, "_BUFFER_MESSAGES", 500)
    # Of a whole process.
    monkeypatch.setattr(logs, "configure", lambda _level, _service: None)
    recording = tmp_path / "trades.jsonl"
    recording.write_text("".join(trade(number) + "\n" for number in range(20_000)))
    published = KafkaPublisher.publish

    def publish(self: KafkaPublisher, envelopes: Sequence[Envelope], source: str = "") -> None:
        """The broker dies when it has taken the first of them."""
        published(self, envelopes[:100], source)
        if process.poll() is None:
            self.flush()
            process.kill()
            process.wait()
        published(self, envelopes[100:], source)

    monkeypatch.setattr(KafkaPublisher, "publish", publish)
    monkeypatch.setattr(sys, "argv", ["medallion", "replay", str(recording), "--exchange", "binance"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capfd.readouterr()
    said = " ".join((shown.out + shown.err).split())
    assert f"{recording}, stopped 1,000 messages into it: no answer of the broker at {address}" in said
    assert "In all 100 messages were delivered. Not delivered: binance BTCUSDT" in said
    assert "send the same input again: duplicates are harmless" in said
    assert said.count("Connection refused") < 6, "librdkafka's complaint is said again and again"


def test_a_broker_whose_consumers_read_nothing_is_not_waited_for_for_ever(broker: str) -> None:
    settings = Settings(kafka_bootstrap_servers=broker, publish_max_unconsumed_bytes=100_000)
    publisher = KafkaPublisher(settings, delivery_timeout_s=2.0)
    message = r"published messages are not consumed.* messages were delivered.*ClickHouse"
    with pytest.raises(DeliveryError, match=message), publisher:
        publisher.publish([envelope(number, payload="x" * 1_000) for number in range(500)])


def test_a_line_that_repeats_itself_is_written_once_a_minute_and_says_how_often() -> None:
    now_s = 0.0
    repeats = Repeats(60.0, lambda: now_s)
    counts = []
    for number in range(240):
        counts.append(repeats.count(f"connect to 127.0.0.1:{number} failed"))
        now_s += 0.5
    assert [count for count in counts if count] == [1, 120]
    assert repeats.count("another") == 1
