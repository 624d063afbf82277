"""Invariants: lag ends at the broker's acknowledgement; a clock that is off shows, and changes no trade's time."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from confluent_kafka import Message, Producer
from prometheus_client import REGISTRY
from websockets.asyncio.server import ServerConnection

from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import exchange as exchange_of
from producers.exchanges.model import Trades
from producers.kafka.publisher import DeliveryError, KafkaPublisher
from producers.live import run
from producers.options import ProducerOptions
from producers.simulator.server import Simulator
from producers.simulator.synthetic import RandomWalk
from tests.producers.exchange import exchange
from tests.producers.test_publisher import envelope

DEADLINE_S = 30.0
BROKER_S = 0.3
QUICK = ProducerOptions(back_off_s=0.1, healthy_after_s=0.0, close_s=0.5)
OFF_S = 1.5


@pytest.fixture
def slow_broker() -> Iterator[Settings]:
    """A broker that takes its time to answer."""
    cluster = Producer({"test.mock.num.brokers": 1, "test.mock.broker.rtt": int(BROKER_S * 1_000), "log_level": 0})
    address = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield Settings(kafka_bootstrap_servers=f"{address.host}:{address.port}")
    del cluster


def sample(name: str, code: str = "binance") -> float:
    return REGISTRY.get_sample_value(f"medallion_producer_{name}", {"exchange": code}) or 0.0


def test_who_offers_is_told_of_the_acknowledgement_and_not_before(slow_broker: Settings) -> None:
    told: list[float] = []
    with KafkaPublisher(slow_broker) as publisher:
        started = time.monotonic()
        assert publisher.offer([envelope(1), envelope(2)], lambda: told.append(time.monotonic())) == 2
        publisher.poll(0)
        assert told == []
        publisher.flush()
    assert len(told) == 1
    assert told[0] - started >= BROKER_S


def test_who_offers_to_a_broker_that_is_not_there_is_told_of_no_acknowledgement() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        publisher = KafkaPublisher(Settings(kafka_bootstrap_servers=f"127.0.0.1:{free.getsockname()[1]}"))
    told: list[str] = []
    publisher.offer([envelope(1)], lambda: told.append("acknowledged"))
    with pytest.raises(DeliveryError):
        publisher.close(0.2)
    assert told == []


def test_lag_counts_the_way_to_the_broker_also_while_the_exchange_sends_nothing_more(slow_broker: Settings) -> None:
    async def behave(connection: ServerConnection, number: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        await connection.send(f'{{"e":"trade","s":"X","t":1,"p":"1","q":"1","T":{now_ms},"m":true}}')
        await connection.wait_closed()

    before, seconds = sample("lag_seconds_count"), sample("lag_seconds_sum")

    async def main() -> None:
        async with exchange(behave) as url:
            # The publisher is not flushed while the lag is not counted.
            await run(
                "binance", ["X"], slow_broker, endpoint=url, options=QUICK, duration_s=DEADLINE_S,
                until=lambda _counters: sample("lag_seconds_count") > before,
            )  # fmt: skip

    asyncio.run(main())
    assert sample("lag_seconds_count") == before + 1
    assert sample("lag_seconds_sum") - seconds >= BROKER_S


@pytest.mark.parametrize("off_s", [OFF_S, -OFF_S], ids=["behind", "ahead"])
def test_a_clock_that_is_off_shows_and_changes_no_time(
    off_s: float, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    """The exchange's clock is ahead (ours is behind), or the other way round."""
    sent: dict[str, str] = {}

    @dataclasses.dataclass(frozen=True)
    class Kept(RandomWalk):
        def frames(self, code: str) -> Iterator[bytes]:
            for frame in super().frames(code):
                parsed = exchange_of(code).parse(frame)
                assert isinstance(parsed, Trades)
                sent.update({trade.trade_id: trade.timestamp for trade in parsed.records})
                yield frame

    walk = Kept(["BTC/USD"], seconds=1.0, rate=50.0, clock_off_s=off_s)

    async def main() -> LiveCounters:
        simulator = Simulator({"kraken": walk}, speed=1.0, wait_for_subscribers=True)
        port = await simulator.start()
        counters = await run(
            "kraken", ["BTC/USD"], settings, endpoint=f"ws://127.0.0.1:{port}/kraken", options=QUICK,
            until=lambda counters: counters.trades >= 50, duration_s=DEADLINE_S,
        )  # fmt: skip
        await simulator.close()
        return counters

    assert asyncio.run(main()).trades == 50
    # Latency is never negative, so the offset is at least what the clock is off by.
    shown = sample("clock_offset_seconds", "kraken")
    assert -off_s - 0.01 <= shown
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("kraken"))]
    assert {value["trade_id"]: value["timestamp"] for value in values} == sent
    assert len(sent) == 50
    offsets = [value["received_at"] / 1e6 - datetime.fromisoformat(value["timestamp"]).timestamp() for value in values]
    assert min(abs(shown - offset) for offset in offsets) < 1e-4, "the offset is that of a message"
