"""An hour of simulated trading in a minute, with a fault about every second of it: no trade lost, memory flat.

The producer is also killed in the midst of it. `make soak` plays the hour in six minutes, with a fault every five
seconds of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from config.settings import Settings
from producers.simulator import synthetic
from producers.simulator.faults import Fault, FaultPlan
from producers.simulator.server import Simulator
from tests.producers.process import Reader, owned, start

SIMULATED_S, RATE = 3_600, 20
SPEED = float(os.environ.get("MEDALLION_SOAK_SPEED", "60"))
FAULT_S = float(os.environ.get("MEDALLION_SOAK_FAULT_S", "60"))
DEADLINE_S = SIMULATED_S / SPEED + 120.0
# After these shares of the hour.
KILLS = (0.2, 0.4)
MOST_GROWTH_BYTES = 16_000_000


@pytest.mark.nightly
@pytest.mark.timeout(DEADLINE_S + 30)
@pytest.mark.parametrize(("code", "symbols"), [("binance", ["BTCUSDT", "ETHUSDT"])])
def test_an_hour_of_trading_with_faults(
    code: str, symbols: list[str], tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "hour.jsonl"
    plan = FaultPlan(20_261_121, every=int(RATE * FAULT_S), kinds=tuple(Fault), retry_after_s=1)
    count = synthetic.write(
        recording, code, symbols, seconds=SIMULATED_S, rate=RATE, seed=plan.seed, start_us=1_760_000_000_000_000
    )
    expected = owned(code, recording.read_bytes())
    reader = Reader(settings, code)
    # Of the last life; the first minutes of it are for caches and pools.
    memory: list[int] = []
    played: list[int] = []

    async def main() -> tuple[dict[str, Any], dict[str, int]]:
        simulator = Simulator({code: recording}, speed=SPEED, wait_for_subscribers=True, plan=plan)
        port = await simulator.start()
        kills = [int(count * share) for share in KILLS]
        producer = start(code, symbols, settings, port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not (simulator.status()["done"] and set(reader.trades) >= expected and not reader.open):
                    await asyncio.to_thread(reader.read)
                    assert producer.poll() is None, "the producer ended"
                    memory.append(psutil.Process(producer.pid).memory_info().rss)
                    if kills and simulator.progress(code).owned > kills[0]:
                        kills.pop(0)
                        producer.kill()
                        producer.communicate()
                        memory.clear()
                        producer = start(code, symbols, settings, port)
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass  # the assertions below say what is missing
        producer.send_signal(signal.SIGTERM)
        output, _ = await asyncio.to_thread(producer.communicate, None, 60)
        faults = simulator.progress(code).faults
        played.append(simulator.progress(code).owned)
        await simulator.close()
        return json.loads(output.splitlines()[-1]), faults

    report, faults = asyncio.run(main())
    reader.read()
    reader.close()
    begun = memory[len(memory) // 3]
    with capsys.disabled():
        sys.stdout.write(
            f"\nsoak, seed {plan.seed}: {played[0]:,} of {len(expected):,} trades played,"
            f" {sum(reader.trades.values()):,} messages;"
            f" {len(KILLS)} kills; {sum(faults.values())} faults {faults}; {len(reader.gaps)} gaps;"
            f" last life {report}, memory {begun >> 20} → {memory[-1] >> 20} MiB\n"
        )
    assert expected - set(reader.trades) == set()
    assert reader.open == []
    assert (report["open"], report["unfillable"]) == (0, 0)
    assert report["found"] == report["healed"]
    assert len(faults) == len(Fault)
    assert memory[-1] - begun < MOST_GROWTH_BYTES
