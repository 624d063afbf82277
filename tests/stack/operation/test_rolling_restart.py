"""Invariants 1 and 2 while every service is restarted in turn, as an upgrade does: SIGTERM, one after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import Settings
from deploy.embedded.layout import DataDir, ServiceState
from producers.simulator import synthetic
from producers.simulator.faults import FaultPlan
from producers.simulator.server import Simulator
from tests.producers.process import start
from tests.recorded import Recorded
from tests.stack import truth
from tests.stack.compare import gold_candles, rows, silver_set, true_set
from tests.stack.conftest import Medallion

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
START_US = 1_760_000_000_000_000
# 200 trades a second for four minutes: restarts take longer on a busy machine, and trades have to flow in each.
SECONDS, RATE, SPEED = 2_400, 20.0, 10.0
ENOUGH = 300
DEADLINE_S = 600.0
# Two workers share the work only if Bronze is spread over partitions.
SETTINGS = {"MEDALLION_BRONZE_SHARDS": "4", "MEDALLION_SILVER_SESSION_TIMEOUT_MS": "6000"}
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]


# Its siblings: chaos/test_storm.py kills node and workers, producers/test_lives.py the producer.
@pytest.mark.nightly
@pytest.mark.parametrize("broker", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_no_trade_is_lost_or_doubled(
    broker: str, tmp_path: Path, medallion: Medallion, request: pytest.FixtureRequest
) -> None:
    """The in-memory broker forgets what it has, so it is restarted only where it is Kafka."""
    if broker == "kafka":
        request.getfixturevalue("kafka")
    recording, folder = tmp_path / "trades.jsonl", tmp_path / "stack"
    synthetic.write(recording, "binance", SYMBOLS, seconds=SECONDS, rate=RATE, seed=5, start_us=START_US)
    expected = truth.trades(Recorded("rolling", "binance", "binance", "spot", recording))
    services = ["producer", "silver-0", "clickhouse", "silver-1", "serving", "offload", "schedules"]
    services += ["broker"] if broker == "kafka" else []
    stack = ("--broker", broker, "--workers", "2", "--offload", "--serve", "--schedules")
    medallion("up", "--data-dir", folder, "--detach", *stack, settings=SETTINGS)

    def count() -> int:
        (counted,) = rows(medallion, folder, "SELECT count() AS trades FROM silver_trades")
        return int(counted["trades"])

    try:
        report = asyncio.run(_restart(services, recording, folder, lambda: count() >= expected.height))
        medallion("drain", "--timeout", "300", "--data-dir", folder, timeout=400)
        silver = silver_set(medallion, folder)
        assert len(silver) == len(set(silver)), "a trade is in Silver twice"
        assert set(silver) == true_set(expected)
        gold = gold_candles(medallion, folder)
        for frame in truth.FRAMES:
            assert gold[frame] == truth.candles(expected, frame), frame
        gaps = rows(medallion, folder, "SELECT state, count() AS gaps FROM producer_gaps GROUP BY state")
        assert {gap["state"] for gap in gaps} == {"healed"}, gaps
        assert report[0] == 0, f"the producer did not end cleanly: {report}"
        medallion("lineage", "verify", "--data-dir", folder)
    finally:
        medallion("down", "--data-dir", folder, "--timeout", "0", check=False)


async def _restart(
    services: list[str], recording: Path, folder: Path, arrived: Callable[[], bool]
) -> tuple[int, bytes]:
    """Plays the recording and restarts each of `services` under way, until all of it has `arrived`.

    Returns:
        the producer's exit code and report.
    """
    state = DataDir(folder).read()
    assert state is not None
    settings = Settings.from_environment(state.environment)
    # No faults but that the exchange waits for nobody.
    plan = FaultPlan(1, kinds=(), rest=0.0, resend=0, retry_after_s=0)
    simulator = Simulator({"binance": recording}, speed=SPEED, wait_for_subscribers=True, plan=plan)
    port = await simulator.start()
    producer = start("binance", SYMBOLS, settings, port)

    def traded() -> int:
        return simulator.progress("binance").owned

    async def more(count: int) -> None:
        before = traded()
        await _until(lambda: traded() >= before + count)

    try:
        await more(ENOUGH)
        for name in services:
            before = traded()
            if name == "producer":
                producer.send_signal(signal.SIGTERM)
                await asyncio.to_thread(producer.communicate, None, DEADLINE_S)
                await more(ENOUGH)
                producer = start("binance", SYMBOLS, settings, port)
                await more(ENOUGH)
            else:
                await _restarted(folder, name)
            assert not simulator.progress("binance").done, f"nothing was traded any more when {name} came back"
            assert traded() > before, f"nothing was traded while {name} was restarted"
        await _until(lambda: simulator.progress("binance").done)
        # What passed while no producer ran is fetched from the exchange's REST interface.
        await _until(lambda: producer.poll() is not None or arrived())
    finally:
        report = await _ended(producer)
        await simulator.close()
    return report


async def _ended(producer: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    producer.send_signal(signal.SIGTERM)
    said, _ = await asyncio.to_thread(producer.communicate, None, DEADLINE_S)
    return producer.returncode, said


async def _restarted(folder: Path, name: str) -> None:
    """SIGTERM to a service; returns when another process of it is healthy."""
    earlier = _service(folder, name).pid
    assert earlier is not None
    os.kill(earlier, signal.SIGTERM)
    await _until(lambda: _service(folder, name).pid not in {earlier, None})
    await _until(lambda: _service(folder, name).state == "healthy")


def _service(folder: Path, name: str) -> ServiceState:
    state = DataDir(folder).read()
    assert state is not None
    (service,) = (service for service in state.services if service.name == name)
    return service


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.05)
