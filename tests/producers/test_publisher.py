"""Invariants: what is taken arrives, keyed and in its exchange's topic; what does not arrive is an error."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Message

from config.settings import Settings
from producers import metrics
from producers.envelope import Envelope, envelopes
from producers.exchanges.model import Trade, Trades
from producers.publisher import Publisher, PublishError


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
    with Publisher(settings) as publisher:
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
    publisher = Publisher(settings, delivery_timeout_s=0)
    publisher.publish([envelope(number) for number in range(10)])
    with pytest.raises(PublishError, match=r"10 of 10 .*MEDALLION_KAFKA_BOOTSTRAP_SERVERS"):
        publisher.close(timeout_s=0.5)


def test_messages_given_up_are_counted_and_stop_the_publisher() -> None:
    settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{dead_port()}")
    publisher = Publisher(settings, delivery_timeout_s=0.5)
    counted = metrics.DELIVERY_ERRORS.labels(envelope().exchange)._value
    before = counted.get()
    publisher.publish([envelope(number) for number in range(10)])
    with pytest.raises(PublishError, match="10 of 10 messages were not delivered"):
        publisher.flush(timeout_s=20)
    assert publisher.statistics.failed == counted.get() - before == 10
    with pytest.raises(PublishError):
        publisher.publish([envelope()])


def test_a_full_buffer_takes_no_more_and_forgets_nothing() -> None:
    settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{dead_port()}")
    publisher = Publisher(settings, delivery_timeout_s=0)
    some = [envelope(number, payload="x" * 10_000) for number in range(1_000)]
    taken = 0
    while (now := publisher.offer(some)) == len(some):
        taken += now
    taken += now
    assert publisher.offer(some) == 0
    assert publisher.statistics.accepted == publisher.statistics.buffered == taken
    with pytest.raises(PublishError, match=f"{taken} of {taken}"):
        publisher.close(timeout_s=0.1)


def test_a_message_over_the_limit_arrives_cut(broker: str, consume: Callable[[str], list[Message]]) -> None:
    settings = Settings(kafka_bootstrap_servers=broker, kafka_max_message_bytes=1_000_000)
    with Publisher(settings) as publisher:
        publisher.publish([envelope(1, payload='"' * 900_000), envelope(2)])
        publisher.flush()
        assert publisher.statistics.shortened == 1
    values = [json.loads(message.value()) for message in consume("market.crypto.trades.binance.raw")]
    assert sorted(value["trade_id"] for value in values) == ["1", "2"]
    assert all(set(value["payload"]) <= set('"{}') for value in values)


def test_publishing_stands_still_until_the_consumers_have_caught_up(broker: str) -> None:
    bound = 100_000
    settings = Settings(kafka_bootstrap_servers=broker, publish_max_unconsumed_bytes=bound)
    topic = settings.raw_topic("binance")
    many = [envelope(number, payload="x" * 1_000) for number in range(500)]
    publisher = Publisher(settings)
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": settings.raw_consumer_group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
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
