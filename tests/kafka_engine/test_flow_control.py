"""Flow control never lets more than its bound be unconsumed in a partition, and goes on when consumers do."""

from __future__ import annotations

import threading

from confluent_kafka import Producer

from producers.kafka.flow_control import FlowControl
from tests.kafka_engine.kafka import commit, read
from tests.kafka_engine.node import wait_until


def send(flow_control: FlowControl, producer: Producer, topic: str, value: bytes, timeout: float | None = None) -> bool:
    if not flow_control.acquire(len(value), timeout):
        return False

    def on_delivery(error: object, message: object) -> None:
        flow_control.delivered(message.topic(), message.partition(), message.offset(), len(value))

    producer.produce(topic, value, partition=0, on_delivery=on_delivery)
    return True


def test_stops_at_the_bound_and_goes_on_after_a_commit(brokers: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    flow_control = FlowControl({"bootstrap.servers": brokers}, "reader", 10_000, serve=producer.poll)
    sent = 0
    while send(flow_control, producer, "paced", b"x" * 1000, timeout=0.3):
        sent += 1
    producer.flush(10)
    assert sent == 10
    assert flow_control.unconsumed() == {("paced", 0): 10_000}
    commit(brokers, "reader", "paced", {0: 4})
    while send(flow_control, producer, "paced", b"x" * 1000, timeout=0.3):
        sent += 1
    assert sent == 14
    flow_control.close()
    producer.flush(10)
    assert len(read(brokers, "paced", 14)) == 14


def test_a_message_above_the_bound_goes_alone(brokers: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    flow_control = FlowControl({"bootstrap.servers": brokers}, "alone", 1_000, serve=producer.poll)
    assert send(flow_control, producer, "alone", b"x" * 100)
    assert not send(flow_control, producer, "alone", b"x" * 5_000, timeout=0.2)
    producer.flush(10)
    commit(brokers, "alone", "alone", {0: 1})
    assert send(flow_control, producer, "alone", b"x" * 5_000, timeout=5)
    assert not send(flow_control, producer, "alone", b"x", timeout=0.2)
    producer.flush(10)
    flow_control.close()


def test_a_broker_that_counts_from_zero_again_has_nothing_unconsumed(brokers: str) -> None:
    flow_control = FlowControl({"bootstrap.servers": brokers}, "reborn", 1_000)
    for offset, size in ((7, 900), (0, 100)):
        assert flow_control.acquire(size)
        flow_control.delivered("reborn", 0, offset, size)
    assert flow_control.unconsumed() == {("reborn", 0): 100}
    flow_control.close()


def test_without_a_bound_nothing_waits_and_nothing_is_kept(brokers: str) -> None:
    flow_control = FlowControl({"bootstrap.servers": brokers}, "unbounded", 0)
    for offset in range(100):
        assert flow_control.acquire(1 << 40)
        flow_control.delivered("unbounded", 0, offset, 1 << 40)
        flow_control.release(1 << 40)
    assert flow_control.unconsumed() == {}
    flow_control.close()


def test_a_message_that_was_refused_leaves_its_room(brokers: str) -> None:
    flow_control = FlowControl({"bootstrap.servers": brokers}, "refused", 1_000)
    assert flow_control.acquire(1_000)
    assert not flow_control.try_acquire(1)
    flow_control.release(1_000)
    assert flow_control.try_acquire(1_000)
    flow_control.close()


def test_small_messages_leave_together_and_never_too_early(brokers: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    producer.produce("small", b"so that the topic exists")
    producer.flush(10)
    flow_control = FlowControl({"bootstrap.servers": brokers}, "small", 64_000)
    for offset in range(3_000):
        assert flow_control.try_acquire(10)
        flow_control.delivered("small", offset % 3, offset // 3, 10)
    assert flow_control.unconsumed() == {("small", number): 10_000 for number in range(3)}
    commit(brokers, "small", "small", {0: 250, 1: 1_000, 2: 400})
    wait_until(lambda: flow_control.try_acquire(56_000), 10)
    # A hundred messages of 10 bytes are one step of 1,000 bytes.
    assert flow_control.unconsumed() == {("small", 0): 8_000, ("small", 2): 6_000}
    flow_control.close()


def test_cancel_ends_a_wait(brokers: str) -> None:
    flow_control = FlowControl({"bootstrap.servers": brokers}, "cancelled", 10)
    assert flow_control.acquire(10)
    flow_control.delivered("cancelled", 0, 0, 10)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(flow_control.acquire(10)))
    waiting.start()
    flow_control.cancel()
    wait_until(lambda: answers == [False], 5)
    waiting.join()
    flow_control.close()
