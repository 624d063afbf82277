"""Invariant: over real WebSockets the live producer publishes every trade that the exchange sent it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from confluent_kafka import Message
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed
from websockets.asyncio.server import ServerConnection, serve

from config.settings import Settings
from producers.counters import LiveCounters
from producers.kafka.publisher import DeliveryError
from producers.live import run
from producers.options import ProducerOptions
from producers.simulator.server import Simulator
from tests.producers.conftest import each_recording_played
from tests.producers.exchange import exchange, trade
from tests.recorded import Recorded

DEADLINE_S = 30.0
QUICK = ProducerOptions(back_off_s=0.1, healthy_after_s=0.0, close_s=0.5)


@each_recording_played
def test_every_recording_through_the_simulator_arrives_whole(
    recorded: Recorded, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    expected, total = recorded.trades(), len(recorded.frames().trades)

    async def main() -> tuple[LiveCounters, dict[str, object]]:
        simulator = Simulator({recorded.code: recorded.path}, wait_for_subscribers=True)
        port = await simulator.start()
        counters = await run(
            recorded.code,
            expected["symbol"].unique().sort().to_list(),
            settings,
            endpoint=f"ws://127.0.0.1:{port}/{recorded.code}",
            until=lambda counters: counters.trades >= total,
            duration_s=DEADLINE_S,
        )
        await simulator.wait()
        status = simulator.status()
        await simulator.close()
        return counters, status

    counters, status = asyncio.run(main())
    assert (counters.trades, counters.published, counters.unrecognised) == (total, total, 0)
    assert (counters.connections, counters.disconnects.total(), counters.control["error"]) == (1, 0, 0)
    assert counters.control["ack"] >= 1
    assert status["done"]
    values = [json.loads(message.value()) for message in consume(settings.raw_topic(recorded.code))]
    assert len(values) == total
    got = {(value["symbol"], value["trade_id"], value["price"], value["quantity"], value["side"]) for value in values}
    assert got == set(expected.select("symbol", "trade_id", "price", "qty", "side").iter_rows())
    # The truth is listed in the exchange's order: the order key must give the same, ties included.
    keys = {(value["symbol"], value["trade_id"]): int(value["sequence"] or value["trade_id"]) for value in values}
    for _, trades in expected.group_by("symbol", "trade_time_ns", maintain_order=True):
        order = [keys[one] for one in trades.select("symbol", "trade_id").iter_rows()]
        assert order == sorted(set(order))


def test_a_lost_connection_is_replaced_and_subscribed_again(
    settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    async def behave(connection: ServerConnection, number: int) -> None:
        assert json.loads(await connection.recv())["params"] == ["btcusdt@trade"]
        await connection.send(trade(number))
        if number < 4:
            await connection.close(1011) if number % 2 else connection.transport.abort()
        await connection.wait_closed()

    async def main() -> LiveCounters:
        async with exchange(behave) as url:
            return await run(
                "binance", ["BTCUSDT"], settings, endpoint=url, options=QUICK,
                until=lambda counters: counters.trades >= 4, duration_s=DEADLINE_S,
            )  # fmt: skip

    counters = asyncio.run(main())
    assert (counters.connections, counters.disconnects) == (4, {"closed": 3})
    ids = [json.loads(message.value())["trade_id"] for message in consume(settings.raw_topic("binance"))]
    assert sorted(ids) == ["1", "2", "3", "4"]


def test_a_silent_connection_is_given_up(settings: Settings) -> None:
    async def behave(connection: ServerConnection, number: int) -> None:
        await connection.send(trade(number))
        await connection.wait_closed()

    async def main() -> LiveCounters:
        options = ProducerOptions(back_off_s=0.1, healthy_after_s=0.0, idle_s=0.3)
        async with exchange(behave) as url:
            return await run(
                "binance", ["BTCUSDT"], settings, endpoint=url, options=options,
                until=lambda counters: counters.trades >= 2, duration_s=DEADLINE_S,
            )  # fmt: skip

    counters = asyncio.run(main())
    assert counters.trades == 2
    assert counters.disconnects == {"silence": 1}


def test_an_exchange_that_is_not_there_is_tried_again_until_it_is(settings: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])

    async def send(connection: ServerConnection) -> None:
        await connection.send(trade(1))
        await connection.wait_closed()

    async def main() -> LiveCounters:
        counted: list[LiveCounters] = []

        def until(counters: LiveCounters) -> bool:
            counted.append(counters)
            return counters.trades >= 1

        running = asyncio.ensure_future(
            run("binance", ["X"], settings, endpoint=f"ws://127.0.0.1:{port}", options=QUICK, until=until)
        )
        async with asyncio.timeout(DEADLINE_S):
            while not (counted and counted[-1].disconnects.total() >= 2):
                await asyncio.sleep(0.01)
            async with serve(send, "127.0.0.1", port):
                return await running

    counters = asyncio.run(main())
    assert (counters.connections, counters.trades) == (1, 1)


def test_bad_frames_are_published_for_the_dlq_and_the_next_trade_goes_through(
    settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    async def behave(connection: ServerConnection, number: int) -> None:
        for frame in ("", "{", b"\xff", '{"e":"?"}', "x" * 5_000_000, trade(1)):
            await connection.send(frame)
        await connection.wait_closed()

    async def main() -> LiveCounters:
        async with exchange(behave) as url:
            return await run(
                "binance",
                ["X"],
                settings,
                endpoint=url,
                until=lambda counters: counters.trades >= 1,
                duration_s=DEADLINE_S,
            )

    counters = asyncio.run(main())
    assert (counters.trades, counters.unrecognised, counters.published, counters.disconnects.total()) == (1, 5, 6, 0)
    assert len(consume(settings.raw_topic("binance"))) == 6


def test_a_broker_that_takes_nothing_stops_the_reading_and_is_an_error_at_the_end() -> None:
    with socket.socket() as absent, socket.socket() as free:
        absent.bind(("127.0.0.1", 0))
        free.bind(("127.0.0.1", 0))
        settings = Settings(
            kafka_bootstrap_servers=f"127.0.0.1:{absent.getsockname()[1]}", metrics_port=free.getsockname()[1]
        )
    sent = 0

    async def behave(connection: ServerConnection, number: int) -> None:
        nonlocal sent
        frame = trade(1)[:-1] + ',"pad":"' + "x" * 1_000_000 + '"}'
        while True:
            await connection.send(frame)
            sent += 1

    async def main() -> None:
        stop = asyncio.Event()
        health = f"http://127.0.0.1:{settings.metrics_port}"
        async with exchange(behave) as url, aiohttp.ClientSession(health) as http:
            running = asyncio.ensure_future(
                run("binance", ["BTCUSDT"], settings, endpoint=url, stop=stop, options=QUICK, flush_s=0.3)
            )
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    with contextlib.suppress(aiohttp.ClientConnectionError):
                        async with http.get("/readyz") as response:
                            if "reading stands still" in await response.text():
                                break
                    await asyncio.sleep(0.02)
            stop.set()
            await running

    with pytest.raises(DeliveryError, match=r"were not acknowledged.*Not delivered: binance BTCUSDT \d+"):
        asyncio.run(main())
    assert 20 < sent < 1_000


def test_sigterm_flushes_and_ends(tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]) -> None:
    """The producer and the simulator, each a process of its own."""
    recording = tmp_path / "trades.jsonl"
    recording.write_text("\n".join(trade(number) for number in range(500)) + "\n")
    state = tmp_path / "simulator"
    simulator = subprocess.Popen(
        [sys.executable, "-m", "producers.simulator", "--recording", f"binance={recording}", "--speed", "max",
         "--wait-for-subscribers", "--state", state],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    producer: subprocess.Popen[bytes] | None = None
    again = retry(
        stop=stop_after_delay(DEADLINE_S),
        wait=wait_fixed(0.02),
        retry=retry_if_exception_type((OSError, AssertionError)),
    )
    try:
        address = again(state.read_text)()
        script = (
            "from config.settings import Settings; from producers.live import run_until_signal; r = run_until_signal("
            f"'binance', ['BTCUSDT'], Settings(), endpoint='ws://{address}/binance'); print(r.trades, r.published)"
        )
        environment = os.environ | {"MEDALLION_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
        producer = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)

        def all_sent() -> None:
            with urllib.request.urlopen(f"http://{address}/status") as answer:
                status = json.load(answer)
            assert status["done"]
            assert status["exchanges"]["binance"]["trades_sent"] == 500

        again(all_sent)()
        producer.send_signal(signal.SIGTERM)
        output, _ = producer.communicate(timeout=DEADLINE_S)
        assert producer.returncode == 0
        trades, published = map(int, output.split()[-2:])
        assert trades == published
        assert len(consume(settings.raw_topic("binance"))) == published > 0
    finally:
        for process in (producer, simulator):
            if process is not None:
                process.terminate()
                process.wait(timeout=DEADLINE_S)
                assert process.stdout is not None
                process.stdout.close()
    assert simulator.returncode == 0
    assert not state.exists()
