"""Invariants: a planned reconnect misses nothing; an exchange is asked no more often than it allows; health is told."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import aiohttp
import pytest
from confluent_kafka import Message, Producer
from prometheus_client import REGISTRY as METRICS
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import REGISTRY
from producers.exchanges.model import Rate, RefusedError, UnknownError
from producers.kafka import publisher as publisher_module
from producers.kafka.publisher import DeliveryError
from producers.live import run
from producers.options import ProducerOptions
from producers.venue_limits import CLOSED, HALF_OPEN, OPEN, REST, STREAM, VenueLimits, VenueUnavailableError
from tests.producers.exchange import exchange, trade

DEADLINE_S = 30.0
QUICK = ProducerOptions(back_off_s=0.1, healthy_after_s=0.0, close_s=0.5)
ACK = '{"result":null,"id":1}'


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_new_connection_is_subscribed_before_the_old_one_closes_and_nothing_is_missed(
    settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    """One stream of numbers; each connection gets those sent while it is subscribed, as at an exchange."""
    subscribers: dict[int, ServerConnection] = {}
    alone: list[bool] = []

    async def behave(connection: ServerConnection, number: int) -> None:
        await connection.recv()
        subscribers[number] = connection
        await connection.send(ACK)
        try:
            await connection.wait_closed()
        finally:
            del subscribers[number]
            alone.append(not subscribers)

    async def feed() -> None:
        number = 0
        while True:
            for connection in [*subscribers.values()]:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(trade(number))
            number += bool(subscribers)
            await asyncio.sleep(0.001)

    async def main() -> LiveCounters:
        options = dataclasses.replace(QUICK, lifetime_s=0.6, early_s=0.3)
        async with exchange(behave) as url:
            feeding = asyncio.ensure_future(feed())
            counters = await run(
                "binance", ["BTCUSDT"], settings, endpoint=url, options=options,
                until=lambda counters: counters.rotations >= 3, duration_s=DEADLINE_S,
            )  # fmt: skip
            feeding.cancel()
            return counters

    counters = asyncio.run(main())
    assert counters.rotations >= 3
    assert counters.disconnects.total() == 0
    assert not any(alone[:3]), "an old connection closed while no new one was subscribed"
    ids = {int(json.loads(message.value())["trade_id"]) for message in consume(settings.raw_topic("binance"))}
    assert ids == set(range(max(ids) + 1))


def test_a_connection_that_the_exchange_says_it_will_close_is_replaced_before(settings: Settings) -> None:
    subscribed: list[int] = []
    before: list[int] = []

    async def behave(connection: ServerConnection, number: int) -> None:
        await connection.recv()
        subscribed.append(number)
        await connection.send(ACK)
        if number == 1:
            await connection.send('{"e":"serverShutdown","E":1770123456789}')
        await connection.wait_closed()
        before.append(len(subscribed))

    async def main() -> LiveCounters:
        async with exchange(behave) as url:
            return await run(
                "binance", ["BTCUSDT"], settings, endpoint=url, options=QUICK,
                until=lambda counters: counters.rotations >= 1, duration_s=DEADLINE_S,
            )  # fmt: skip

    # The metric's old name stays for a release.
    names = [f"medallion_producer_{name}_total" for name in ("rotations", "renewals")]
    earlier = [METRICS.get_sample_value(name, {"exchange": "binance"}) or 0.0 for name in names]
    counters = asyncio.run(main())
    assert (counters.rotations, counters.connections, counters.disconnects.total()) == (1, 2, 0)
    now = [METRICS.get_sample_value(name, {"exchange": "binance"}) for name in names]
    assert now == [value + 1 for value in earlier]
    assert before[0] == 2, "the old connection closed before the new one was subscribed"


def test_more_symbols_than_a_connection_may_carry_take_several(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "binance", dataclasses.replace(REGISTRY["binance"], symbols_a_connection=2))
    asked: list[list[str]] = []

    async def behave(connection: ServerConnection, number: int) -> None:
        asked.append(json.loads(await connection.recv())["params"])
        await connection.send(trade(number, asked[-1][0].split("@")[0].upper()))
        await connection.wait_closed()

    async def main() -> LiveCounters:
        async with exchange(behave) as url:
            return await run(
                "binance", ["A", "B", "C", "D", "E"], settings, endpoint=url,
                until=lambda counters: counters.trades >= 3, duration_s=DEADLINE_S,
            )  # fmt: skip

    counters = asyncio.run(main())
    assert counters.connections == 3
    assert sorted(asked) == [["a@trade", "b@trade"], ["c@trade", "d@trade"], ["e@trade"]]


def test_the_breaker_opens_after_failures_tries_once_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("purgatory.domain.model.time", SimpleNamespace(time=lambda: now_s))

    async def fail(venue_limits: VenueLimits) -> None:
        async with venue_limits.connecting():
            raise OSError("down")

    async def main() -> None:
        nonlocal now_s
        venue_limits = VenueLimits("x", Rate(100, 1.0), Rate(100, 1.0), failures=3, open_s=60.0)
        for state in (CLOSED, CLOSED, OPEN):
            with pytest.raises(OSError, match="down"):
                await fail(venue_limits)
            assert venue_limits.states == {STREAM: state, REST: CLOSED}
        with pytest.raises(VenueUnavailableError, match="left alone"):
            await fail(venue_limits)
        now_s += 61
        with pytest.raises(OSError, match="down"):
            await fail(venue_limits)
        assert venue_limits.states[STREAM] == OPEN
        now_s += 59
        with pytest.raises(VenueUnavailableError, match="left alone"):
            await fail(venue_limits)
        now_s += 2
        async with venue_limits.connecting():
            assert venue_limits.states[STREAM] == HALF_OPEN
        assert venue_limits.states[STREAM] == CLOSED

    asyncio.run(main())


def test_connects_and_requests_keep_to_the_rate() -> None:
    async def main() -> float:
        venue_limits = VenueLimits("x", Rate(2, 0.2), Rate(2, 0.2), failures=3, open_s=1.0)
        started = time.monotonic()
        for _ in range(6):
            async with venue_limits.requesting():
                pass
        return time.monotonic() - started

    assert asyncio.run(main()) >= 0.39  # two at once, four more at ten a second


def test_symbols_that_an_exchange_does_not_know_open_no_breaker() -> None:
    """Five of them in a list must not keep the others from being asked for; a ban must."""

    async def main() -> tuple[str, str]:
        venue_limits = VenueLimits("x", Rate(100, 1.0), Rate(100, 1.0), failures=3, open_s=60.0)
        for _ in range(5):
            with pytest.raises(UnknownError):
                async with venue_limits.requesting():
                    raise UnknownError("HTTP 400")
        before = venue_limits.states[REST]
        for _ in range(3):
            with pytest.raises(RefusedError):
                async with venue_limits.requesting():
                    raise RefusedError("HTTP 403")
        return before, venue_limits.states[REST]

    assert asyncio.run(main()) == (CLOSED, OPEN)


def test_an_absent_exchange_is_left_alone_by_the_breaker(settings: Settings) -> None:
    """Without it, a back-off of 10 ms would try some hundred times a second."""

    async def main() -> LiveCounters:
        options = dataclasses.replace(QUICK, back_off_s=0.01, breaker_failures=3, breaker_open_s=60.0)
        return await run(
            "binance", ["X"], settings, endpoint=f"ws://127.0.0.1:{free_port()}", options=options,
            until=lambda counters: counters.disconnects["VenueUnavailableError"] >= 1, duration_s=DEADLINE_S,
        )  # fmt: skip

    counters = asyncio.run(main())
    refused = {cause: count for cause, count in counters.disconnects.items() if cause != "VenueUnavailableError"}
    assert sum(refused.values()) == 3


def test_health_and_readiness_and_metrics_are_served(broker: str) -> None:
    port = free_port()
    settings = Settings(kafka_bootstrap_servers=broker, metrics_port=port)
    subscribe = asyncio.Event()

    async def behave(connection: ServerConnection, number: int) -> None:
        await subscribe.wait()
        await connection.send(ACK)
        await connection.send(trade(1))
        await connection.wait_closed()

    async def main() -> None:
        stop = asyncio.Event()
        async with exchange(behave) as url, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            running = asyncio.ensure_future(run("binance", ["X"], settings, endpoint=url, stop=stop, options=QUICK))

            async def answer(path: str) -> tuple[int, str]:
                async with http.get(path) as response:
                    return response.status, await response.text()

            async with asyncio.timeout(DEADLINE_S):
                while True:
                    try:
                        before = await answer("/readyz")
                        break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.02)
                assert before[0] == 503
                assert "connections" in json.loads(before[1])["troubles"]
                assert (await answer("/healthz"))[0] == 200
                subscribe.set()
                while (await answer("/readyz"))[0] != 200:
                    await asyncio.sleep(0.02)
                shown = (await answer("/metrics"))[1]
            stop.set()
            await running
        for name in ("trades_total", "bytes_total", "lag_seconds_bucket", "breaker", "clock_offset_seconds"):
            assert f"medallion_producer_{name}" in shown

    asyncio.run(main())


@pytest.fixture
def slow_broker() -> Iterator[str]:
    """A broker that takes 200 ms to answer."""
    cluster = Producer({"test.mock.num.brokers": 1, "test.mock.broker.rtt": 200, "log_level": 0})
    address = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield f"{address.host}:{address.port}"
    del cluster


def test_a_slow_broker_slows_the_reading_and_loses_nothing(slow_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "_BUFFER_MESSAGES", 300)
    sent = 0

    async def behave(connection: ServerConnection, number: int) -> None:
        nonlocal sent
        for count in range(1_000):
            await connection.send(trade(count))
            sent += 1
        await connection.wait_closed()

    async def main() -> LiveCounters:
        async with exchange(behave) as url:
            return await run(
                "binance", ["X"], Settings(kafka_bootstrap_servers=slow_broker), endpoint=url, options=QUICK,
                until=lambda counters: counters.trades >= 1_000, duration_s=DEADLINE_S,
            )  # fmt: skip

    started = time.monotonic()
    counters = asyncio.run(main())
    # `run` raises if anything it took is not acknowledged.
    assert (counters.trades, counters.published, counters.undelivered) == (1_000, 1_000, 0)
    assert time.monotonic() - started > 1.0, "the broker was not slow: the test shows nothing"


def test_what_the_full_buffer_never_took_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "_BUFFER_MESSAGES", 50)
    counted: list[LiveCounters] = []

    async def behave(connection: ServerConnection, number: int) -> None:
        for count in range(200):
            await connection.send(trade(count))
        await connection.wait_closed()

    def until(counters: LiveCounters) -> bool:
        counted.append(counters)
        return counters.frames > 50

    async def main() -> None:
        settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
        async with exchange(behave) as url:
            await run(
                "binance", ["BTCUSDT"], settings, endpoint=url, options=QUICK, until=until, duration_s=DEADLINE_S,
                flush_s=0.3,
            )  # fmt: skip

    with pytest.raises(DeliveryError, match="50 of 50 messages were not acknowledged") as caught:
        asyncio.run(main())
    counters = counted[-1]
    assert counters.published == 50
    assert counters.undelivered == counters.trades - 50 > 0
    assert f"and {counters.undelivered} more were never taken by the full buffer" in str(caught.value)
    assert str(caught.value).endswith(f"Not delivered: binance BTCUSDT {counters.trades}")
