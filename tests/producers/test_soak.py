"""An hour of simulated trading in a minute, with a fault about every second of it: no trade lost, memory flat."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer

from config.settings import Settings
from producers.exchanges import exchange
from producers.exchanges.model import Trades
from producers.gaps import HEALED
from producers.simulator import synthetic
from producers.simulator.faults import Fault, Plan
from producers.simulator.server import Simulator

SIMULATED_S, RATE, SPEED = 3_600, 20, 60.0
DEADLINE_S = 150.0
MOST_GROWTH_BYTES = 16_000_000
PRODUCER = """
import asyncio, json, signal, sys
from config.settings import Settings
from producers.connection import Limits
from producers.exchanges.model import Rate
from producers.live import run

async def main():
    broker, url, rest, symbols, code = sys.argv[1:]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    limits = Limits(back_off_s=0.05, healthy_after_s=0.0, close_s=0.2, idle_s=1.0, heal_after_s=0.05, audit_s=0.3,
                    breaker_open_s=0.3, requests=Rate(100, 1.0), lifetime_s=10.0, early_s=1.0)
    report = await run(code, symbols.split(","), Settings(kafka_bootstrap_servers=broker), endpoint=url,
                       rest_endpoint=rest, limits=limits, stop=stop)
    gaps = report.gaps
    print(json.dumps({"found": gaps.found, "healed": gaps.healed, "open": gaps.open, "unfillable": gaps.unfillable,
                      "renewals": report.renewals, "disconnects": report.disconnects}))

asyncio.run(main())
"""


class Reader:
    """Reads the topics while they are written: the in-memory broker keeps little."""

    def __init__(self, settings: Settings, code: str) -> None:
        self.trades: set[tuple[str, str]] = set()
        self.gaps: dict[tuple[str, int, str], tuple[int, str]] = {}
        self._gaps_topic = settings.gaps_topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": "soak",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        topics = [settings.raw_topic(code), settings.gaps_topic]
        # A producer that asks for a topic makes it; one made later would be noticed minutes later.
        maker = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0})
        for topic in topics:
            maker.list_topics(topic, timeout=10)
        self._consumer.subscribe(topics)

    def read(self) -> None:
        for message in self._consumer.consume(20_000, 0.05):
            if message.error() is not None:
                continue
            value = json.loads(message.value())
            if message.topic() != self._gaps_topic:
                self.trades.add((value["symbol"], value["trade_id"]))
                continue
            key = value["exchange_symbol"], value["detected_at"], value["from_id"]
            self.gaps[key] = max(self.gaps.get(key, (0, "")), (value["noted_at"], value["state"]))

    def close(self) -> None:
        self._consumer.close()


@pytest.mark.timeout(DEADLINE_S + 30)
@pytest.mark.parametrize(("code", "symbols"), [("binance", ["BTCUSDT", "ETHUSDT"])])
def test_an_hour_of_trading_with_faults(
    code: str, symbols: list[str], tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "hour.jsonl"
    plan = Plan(20_261_121, every=int(RATE * SPEED), kinds=tuple(Fault), retry_after_s=1)
    synthetic.write(
        recording, code, symbols, seconds=SIMULATED_S, rate=RATE, seed=plan.seed, start_us=1_760_000_000_000_000
    )
    known = exchange(code)
    owned = {
        (trade.symbol, trade.trade_id)
        for line in recording.read_bytes().splitlines()
        if isinstance(parsed := known.parse(line), Trades)
        for trade in parsed.records
    }
    memory: list[int] = []
    reader = Reader(settings, code)

    async def main() -> tuple[dict[str, object], dict[str, object]]:
        simulator = Simulator({code: recording}, speed=SPEED, wait_for_subscribers=True, plan=plan)
        port = await simulator.start()
        producer = subprocess.Popen(
            [sys.executable, "-c", PRODUCER, settings.kafka_bootstrap_servers, f"ws://127.0.0.1:{port}/{code}",
             f"http://127.0.0.1:{port}/{code}/rest", ",".join(symbols), code],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        process = psutil.Process(producer.pid)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not (simulator.status()["done"] and owned <= reader.trades and _all_over(reader)):
                    await asyncio.to_thread(reader.read)
                    memory.append(process.memory_info().rss)
                    assert producer.poll() is None, "the producer ended"
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass  # the assertions below say what is missing
        producer.send_signal(signal.SIGTERM)
        output, _ = await asyncio.to_thread(producer.communicate, None, 60)
        status = simulator.status()
        await simulator.close()
        return json.loads(output.splitlines()[-1]), status

    report, status = asyncio.run(main())
    reader.read()
    reader.close()
    with capsys.disabled():
        sys.stdout.write(
            f"\nsoak, seed {plan.seed}: {len(owned):,} trades; faults {status['exchanges'][code]['faults']};"  # type: ignore[index]
            f" producer {report}; memory {memory[len(memory) // 3] >> 20} → {memory[-1] >> 20} MiB\n"
        )
    assert owned - reader.trades == set()
    assert {state for _, state in reader.gaps.values()} == {HEALED}
    assert (report["open"], report["unfillable"]) == (0, 0)
    assert report["found"] == report["healed"]
    assert len(status["exchanges"][code]["faults"]) == len(Fault)  # type: ignore[index]
    assert memory[-1] - memory[len(memory) // 3] < MOST_GROWTH_BYTES


def _all_over(reader: Reader) -> bool:
    return {state for _, state in reader.gaps.values()} == {HEALED}
