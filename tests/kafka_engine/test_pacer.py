"""A paced publisher never has more unconsumed in a partition than its bound, and goes on when consumers do."""

from __future__ import annotations

import threading

from confluent_kafka import Producer

from producers.kafka.flow_control import Pacer
from tests.kafka_engine.kafka import commit, read
from tests.kafka_engine.node import wait_until


def send(pacer: Pacer, producer: Producer, topic: str, value: bytes, timeout: float | None = None) -> bool:
    if not pacer.acquire(len(value), timeout):
        return False

    def on_delivery(error: object, message: object) -> None:
        pacer.release(len(value))
        pacer.delivered(message.topic(), message.partition(), message.offset(), len(value))

    producer.produce(topic, value, partition=0, on_delivery=on_delivery)
    return True


def test_stops_at_the_bound_and_goes_on_after_a_commit(brokers: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    pacer = Pacer({"bootstrap.servers": brokers}, "reader", 10_000, serve=producer.poll)
    sent = 0
    while send(pacer, producer, "paced", b"x" * 1000, timeout=0.3):
        sent += 1
    producer.flush(10)
    assert sent == 10
    assert pacer.unconsumed() == {("paced", 0): 10_000}
    commit(brokers, "reader", "paced", {0: 4})
    while send(pacer, producer, "paced", b"x" * 1000, timeout=0.3):
        sent += 1
    assert sent == 14
    pacer.close()
    producer.flush(10)
    assert len(read(brokers, "paced", 14)) == 14


def test_a_message_above_the_bound_goes_alone(brokers: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    pacer = Pacer({"bootstrap.servers": brokers}, "alone", 1_000, serve=producer.poll)
    assert send(pacer, producer, "alone", b"x" * 100)
    assert not send(pacer, producer, "alone", b"x" * 5_000, timeout=0.2)
    producer.flush(10)
    commit(brokers, "alone", "alone", {0: 1})
    assert send(pacer, producer, "alone", b"x" * 5_000, timeout=5)
    assert not send(pacer, producer, "alone", b"x", timeout=0.2)
    producer.flush(10)
    pacer.close()


def test_a_broker_that_counts_from_zero_again_has_nothing_unconsumed(brokers: str) -> None:
    pacer = Pacer({"bootstrap.servers": brokers}, "reborn", 1_000)
    pacer.delivered("reborn", 0, 7, 900)
    pacer.delivered("reborn", 0, 0, 100)
    assert pacer.unconsumed() == {("reborn", 0): 100}
    pacer.close()


def test_without_a_bound_nothing_waits_and_nothing_is_kept(brokers: str) -> None:
    pacer = Pacer({"bootstrap.servers": brokers}, "unbounded", 0)
    for offset in range(100):
        assert pacer.admits(1 << 40)
        assert pacer.acquire(1 << 40)
        pacer.delivered("unbounded", 0, offset, 1 << 40)
    assert pacer.unconsumed() == {}
    pacer.close()


def test_cancel_ends_a_wait(brokers: str) -> None:
    pacer = Pacer({"bootstrap.servers": brokers}, "cancelled", 10)
    pacer.delivered("cancelled", 0, 0, 10)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(pacer.acquire(10)))
    waiting.start()
    pacer.cancel()
    wait_until(lambda: answers == [False], 5)
    waiting.join()
    pacer.close()
