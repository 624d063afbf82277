"""Invariants: each fault of the simulator is the one that exchanges have, and is told in its own words.

That no fault loses a trade is in test_gaps.py; the clock that is off in test_clock_and_lag.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from config.settings import Settings
from producers import rest as rest_module
from producers.connection import Limits
from producers.exchanges import REGISTRY, exchange
from producers.exchanges.model import ERROR, Control, Parsed, Rate, Trades, Unrecognised
from producers.exchanges.rest import RestError, Span
from producers.guard import Guard
from producers.live import LiveReport, run
from producers.rest import RestClient
from producers.simulator import synthetic
from producers.simulator.faults import Fault, Plan, newest_first
from producers.simulator.server import Simulator

DEADLINE_S = 30.0
START_US = 1_760_000_000_000_000
SYMBOLS = {
    "binance": "BTCUSDT", "binance_usdm": "BTCUSDT", "binance_coinm": "BTCUSD_PERP", "kraken": "BTC/USD",
    "bybit": "BTCUSDT", "bybit_linear": "BTCUSDT", "okx": "BTC-USDT", "coinbase": "BTC-USD",
}  # fmt: skip
QUIET = Plan(1, kinds=(), rest=0.0, resend=0, late_acks=False)


def recording(path: Path, code: str, trades: int) -> list[bytes]:
    synthetic.write(path, code, [SYMBOLS[code]], seconds=trades, rate=1, seed=1, start_us=START_US)
    return path.read_bytes().splitlines()


def simulated(
    code: str, path: Path, plan: Plan, client: Callable[[int, Simulator], Awaitable[None]], speed: float | None = None
) -> None:
    async def main() -> None:
        simulator = Simulator({code: path}, wait_for_subscribers=True, plan=plan, speed=speed)
        port = await simulator.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await client(port, simulator)
        finally:
            await simulator.close()

    asyncio.run(main())


async def subscribe(socket: ClientConnection, code: str) -> None:
    for message in exchange(code).subscribe([SYMBOLS[code]]):
        await socket.send(message)


async def next_frames(socket: ClientConnection, code: str, count: int) -> list[tuple[bytes, Parsed]]:
    """The next frames that are no heartbeat or status."""
    found: list[tuple[bytes, Parsed]] = []
    while len(found) < count:
        frame = await socket.recv(decode=False)
        parsed = exchange(code).parse(frame)
        if not (isinstance(parsed, Control) and parsed.kind in {"heartbeat", "status"}):
            found.append((frame, parsed))
    return found


def test_the_last_fifty_trades_come_again_on_every_subscription(tmp_path: Path) -> None:
    lines = recording(tmp_path / "a.jsonl", "kraken", 120)

    async def client(port: int, simulator: Simulator) -> None:
        url = f"ws://127.0.0.1:{port}/kraken"
        async with connect(url, close_timeout=0.2) as socket:
            await subscribe(socket, "kraken")
            await next_frames(socket, "kraken", 121)
            await simulator.wait()
        async with connect(url, close_timeout=0.2) as socket:
            await subscribe(socket, "kraken")
            again = [frame for frame, parsed in await next_frames(socket, "kraken", 51) if isinstance(parsed, Trades)]
        assert again == lines[-50:]

    simulated("kraken", tmp_path / "a.jsonl", Plan(1, kinds=(), rest=0.0, late_acks=False), client)


@pytest.mark.parametrize("code", REGISTRY)
def test_data_comes_before_the_acknowledgement(code: str, tmp_path: Path) -> None:
    recording(tmp_path / "a.jsonl", code, 3)

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{code}", close_timeout=0.2) as socket:
            await subscribe(socket, code)
            kinds = [type(parsed) for _, parsed in await next_frames(socket, code, 5 if code == "coinbase" else 4)]
        # Coinbase's first answer is to the subscription of heartbeats.
        first = kinds.index(Trades)
        assert kinds[first + 1] is Control
        assert kinds.count(Trades) == 3

    simulated(code, tmp_path / "a.jsonl", Plan(1, kinds=(), rest=0.0, resend=0), client)


def one_fault(
    fault: Fault, tmp_path: Path, code: str = "binance", speed: float | None = None
) -> tuple[list[bytes], list[tuple[bytes, Parsed]], dict[str, int]]:
    """What was recorded, what came, and the faults that befell it; every frame is hit where that is possible."""
    lines = recording(tmp_path / "a.jsonl", code, 40)
    came: list[tuple[bytes, Parsed]] = []
    faults: dict[str, int] = {}

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{code}", close_timeout=0.2) as socket:
            await subscribe(socket, code)
            # The end comes again and again, so that who was cut off learns what it missed.
            while came[-1:] != came[-2:-1] or not came or came[-1][1] == Control(ERROR):
                came.extend(await next_frames(socket, code, 1))
            came.pop()
        faults.update(simulator.progress(code).faults)

    plan = Plan(3, every=1, kinds=(fault,), rest=0.0, resend=0, late_acks=False, slow_s=0.0)
    simulated(code, tmp_path / "a.jsonl", plan, client, speed)
    return lines, came, faults


def test_a_malformed_frame_is_half_of_one_and_unrecognised(tmp_path: Path) -> None:
    lines, came, faults = one_fault(Fault.MALFORMED, tmp_path)
    halves = [frame for frame, parsed in came if isinstance(parsed, Unrecognised)]
    assert faults == {"MALFORMED": len(lines)}
    assert halves == [line[: len(line) // 2] for line in lines]


@pytest.mark.parametrize("code", REGISTRY)
def test_an_error_object_comes_before_the_frame_and_is_known_as_one(code: str, tmp_path: Path) -> None:
    lines, came, _ = one_fault(Fault.ERROR, tmp_path, code)
    errors = [parsed for _, parsed in came if parsed == Control(ERROR)]
    assert len(errors) == len(lines)
    assert [frame for frame, parsed in came if isinstance(parsed, Trades)] == lines


def test_frames_that_are_skipped_are_served_by_rest(tmp_path: Path) -> None:
    lines = recording(tmp_path / "a.jsonl", "binance", 40)

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/binance", close_timeout=0.2) as socket:
            await subscribe(socket, "binance")
            await simulator.wait()
        status = simulator.progress("binance")
        assert status.owned == len(lines)
        assert status.trades_sent < len(lines), "nothing was skipped: the test shows nothing"
        url = f"http://127.0.0.1:{port}/binance/rest/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0&limit=500"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            served = [trade["id"] for trade in await answer.json()]
        assert served == [int(json.loads(line)["data"]["t"]) for line in lines]

    simulated("binance", tmp_path / "a.jsonl", Plan(3, every=3, kinds=(Fault.SKIP,), rest=0.0, resend=0), client)


@pytest.mark.parametrize("code", ["kraken", "okx", "coinbase", "bybit", "binance"])
def test_several_trades_come_as_one_message_newest_first(code: str, tmp_path: Path) -> None:
    """Bybit orders by place, so oldest first in the message; Binance sends one a message, newest first."""
    lines = recording(tmp_path / "a.jsonl", code, 5)
    parse = exchange(code).parse
    held = [(line, parsed) for line in lines if isinstance(parsed := parse(line), Trades)]
    merged = newest_first(code, held)
    ids = [trade.trade_id for _, parsed in merged for trade in parsed.records]
    sent = [trade.trade_id for _, parsed in held for trade in parsed.records]
    assert ids == (sent if code == "bybit" else sent[::-1])
    assert len(merged) == (len(held) if code == "binance" else 1)
    # What is sent is a frame of the exchange: its parser finds the same trades in it.
    assert [parse(frame) for frame, _ in merged] == [parsed for _, parsed in merged]


def test_rest_is_refused_with_retry_after_and_asked_again_no_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = recording(tmp_path / "a.jsonl", "binance", 20)
    waits: list[float] = []
    sleep = asyncio.sleep

    class Sleeping:
        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            await sleep(0)

    statuses: set[int] = set()

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/binance", close_timeout=0.2) as socket:
            await subscribe(socket, "binance")
            await simulator.wait()
        base = f"http://127.0.0.1:{port}/binance/rest"
        async with aiohttp.ClientSession() as session:
            for _ in range(60):
                async with session.get(f"{base}/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0") as answer:
                    statuses.add(answer.status)
                    assert answer.headers.get("Retry-After", "") == ("" if answer.status == 200 else "7")
        known = exchange("binance")
        assert known.rest is not None
        guard = Guard("binance", Rate(100, 1.0), Rate(1_000, 1.0), failures=1_000, open_s=1.0)
        monkeypatch.setattr(rest_module, "asyncio", Sleeping())
        served = 0
        async with RestClient(known, known.rest, guard, base) as rest:
            while served < 5:
                # Five refusals in a row are an error.
                with contextlib.suppress(RestError):
                    async for page in rest.pages("BTCUSDT", Span(1, 1 << 40, START_US)):
                        assert len(page) == len(lines)
                        served += 1
                        break

    plan = Plan(5, kinds=(), rest=0.6, resend=0, late_acks=False, retry_after_s=7)
    simulated("binance", tmp_path / "a.jsonl", plan, client)
    assert statuses == {200, 429, 500, 503}
    assert set(waits) == {7}


def test_the_producer_counts_the_errors_that_an_exchange_reports(tmp_path: Path, settings: Settings) -> None:
    recording(tmp_path / "a.jsonl", "okx", 30)

    async def main() -> LiveReport:
        plan = Plan(3, every=2, kinds=(Fault.ERROR,), rest=0.0, resend=0, late_acks=False)
        simulator = Simulator({"okx": tmp_path / "a.jsonl"}, wait_for_subscribers=True, plan=plan)
        port = await simulator.start()
        report = await run(
            "okx", ["BTC-USDT"], settings, endpoint=f"ws://127.0.0.1:{port}/okx", limits=Limits(),
            until=lambda report: report.trades >= 30, duration_s=DEADLINE_S,
        )  # fmt: skip
        assert report.control[ERROR] == simulator.progress("okx").faults["ERROR"] > 0
        await simulator.close()
        return report

    assert asyncio.run(main()).unrecognised == 0
