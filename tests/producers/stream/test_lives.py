"""Invariant: a producer that was killed and started again has published every trade in between."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from config.connections import kafka_client
from config.settings import Settings
from producers.exchanges import exchange
from producers.exchanges.model import Trade, Trades
from producers.gaps.consecutive_ids import ConsecutiveIds
from producers.gaps.events import GapEvents
from producers.gaps.gap import HEALED, OPEN, Gap
from producers.gaps.id_ranges import IdRanges
from producers.gaps.resume import read_gaps, read_resume_point
from producers.kafka.envelope import BACKFILL, REST, SOURCE, Envelope, encode, envelopes
from producers.kafka.publisher import KafkaPublisher
from producers.simulator import synthetic
from producers.simulator.faults import Fault, FaultPlan
from producers.simulator.server import Simulator
from tests.producers import market_lists
from tests.producers.process import Reader, owned, start

DEADLINE_S = 90.0
START_US = 1_760_000_000_000_000
SYMBOLS = {
    "binance": ["BTCUSDT", "ETHUSDT"],
    "kraken": ["BTC/USD", "DOGE/EUR"],
    "bybit_linear": ["BTCUSDT"],
    "okx": ["BTC-USDT", "ETH-USDT"],
    "coinbase": ["BTC-USD", "ETH-USD"],
}


@pytest.mark.parametrize(
    "through",
    [
        "binance",
        # Ids without an order: their holes are found and healed in test_gaps.py as well.
        *(
            pytest.param(code, marks=pytest.mark.nightly)
            for code in ("bybit_linear", "ccxt", "kraken", "okx", "coinbase")
        ),
    ],
)
def test_trades_between_two_lives_are_published(through: str, tmp_path: Path, settings: Settings) -> None:
    recording, markets = tmp_path / "a.jsonl", None
    # ccxt subscribes one symbol after the other: what the simulator plays before that was never promised.
    code, symbols = through, SYMBOLS.get(through, ["BTC/USD"])
    if through == "ccxt":
        code, markets = "kraken", tmp_path / "markets.json"
        market_lists.save_kraken(markets)
    # Bybit serves the newest thousand and nothing older. The recording must outlast the second start.
    seconds, speed = (95, 5.0) if code == "bybit_linear" else (300, 50.0)
    synthetic.write(recording, code, symbols, seconds=seconds, rate=10, seed=5, start_us=START_US)
    expected = owned(code, recording.read_bytes())
    reader = Reader(settings, code)

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.to_thread(reader.read)

    async def main() -> int:
        # No faults but that nothing waits for who is not there.
        plan = FaultPlan(1, kinds=(), rest=0.2, resend=0, retry_after_s=0)
        simulator = Simulator({code: recording}, speed=speed, wait_for_subscribers=True, plan=plan)
        port = await simulator.start()
        producer = start(code, symbols, settings, port, markets)
        try:
            await until(lambda: len(reader.trades) > 100)
            producer.kill()
            producer.communicate()
            killed_at = simulator.progress(code).owned
            await until(lambda: simulator.progress(code).owned > killed_at + 100)
            producer = start(code, symbols, settings, port, markets)
            await until(lambda: set(reader.trades) >= expected and bool(reader.gaps) and not reader.open)
        finally:
            producer.send_signal(signal.SIGTERM)
            await asyncio.to_thread(producer.communicate, None, DEADLINE_S)
            await simulator.close()
        return killed_at

    killed_at = asyncio.run(main())
    reader.close()
    assert set(reader.trades) == expected
    assert killed_at < len(expected) - 100, "nothing was traded while no producer ran: the test shows nothing"
    assert set(reader.states) == {OPEN, HEALED}
    assert sum(gap["ids_missing"] for gap in reader.gaps.values()) >= 100


def envelope(number: int, symbol: str = "X", received_at: int = 1_000) -> Envelope:
    trade = Trade(symbol, str(number), "1", "1", str(1_700_000_000_000 + number), "BUY", "", "{}")
    (made,) = envelopes("binance", b"", Trades([trade]), received_at)
    return made


def write_foreign(settings: Settings) -> None:
    """Tombstones, headers without a value, times and ids that are none."""
    raw, gaps = settings.raw_topic("binance"), settings.gaps_topic
    gap = {
        "exchange": "binance",
        "symbol": "FOREIGN",
        "exchange_symbol": "FOREIGN",
        "from_id": "9",
        "to_id": "5",
        "from_time": 1,
        "to_time": 2,
        "ids_missing": 5,
        "ids_open": 5,
        "state": OPEN,
        "detected_at": 3,
        "healed_at": 0,
        "noted_at": 4,
    }
    events = [gap, *({**gap, name: -1} for name in gap if name.endswith(("_at", "_time")))]
    events += [
        {**gap, "to_time": 2**63},
        {**gap, "from_id": "", "detected_at": 5},
        {**gap, "from_id": "٩", "to_id": "٩٩"},
    ]
    producer = Producer(kafka_client(settings))
    for value in (None, b"", b"null", b"\xff", b"[" * 10_000):
        producer.produce(raw, value, b"binance:X")
        producer.produce(gaps, value, b"binance:FOREIGN")
    for value in (b"x", encode(envelope(9_999, received_at=3_000))):
        producer.produce(raw, value, b"binance:X", headers=[(SOURCE, None), ("other", b"\xff")])
    for event in events:
        producer.produce(gaps, json.dumps(event))
    assert producer.flush(30) == 0


def test_what_was_published_last_is_found_whatever_else_is_in_the_topic(settings: Settings) -> None:
    """Back-fill and this life's own trades are not it; a hole that a healed trade was to fill is seen.

    Other programs have written messages that are none of ours.
    """
    Reader(settings, "binance").close()
    write_foreign(settings)
    with KafkaPublisher(settings) as publisher:
        publisher.publish([envelope(number, "OLD") for number in range(5)])
        publisher.publish([envelope(number) for number in range(1_000, 1_300) if number not in {1_200, 1_210}])
        publisher.publish([envelope(1_210), envelope(900)], REST)
        publisher.publish([envelope(number, symbol) for number in range(9_000, 9_100) for symbol in "XY"], BACKFILL)
        publisher.publish([envelope(5_000, received_at=2_000)])
        note = GapEvents(publisher, settings, "binance")
        gap = Gap("OLD", "7", "8", 1, 2, 2, 500, IdRanges(7, 8))
        note(gap)
        note(Gap("OLD", "17", "18", 1, 2, 2, 600, IdRanges(17, 18)))
        note(Gap("OLD", "17", "18", 1, 2, 2, 600, IdRanges(17, 18), state=HEALED))
        note(Gap("OLD", "27", "28", 1, 2, 2, 3_000, IdRanges(27, 28)))
    known = exchange("binance")
    earlier = read_resume_point(settings, known, ["X", "Y", "OLD"], 2_000, 1_000, threading.Event())
    published = [int(trade.trade_id) for trade in earlier.published["X"]]
    assert published[-1] == 1_299
    assert published[0] == 1_099, "a frame may list trades newest first: the first ones may lack a neighbour"
    assert set(published) == set(range(1_099, 1_300)) - {1_200}
    assert [trade.trade_id for trade in earlier.published["OLD"]] == ["4", "4"]
    assert ("Y" in earlier.published, earlier.unknown) == (False, [])
    foreign = [gap.ids for gap in read_gaps(settings, known) if gap.symbol == "FOREIGN"]
    assert foreign == [None] * 3, "no times that no layer stores, and no ids that are none"
    (left,) = earlier.open["OLD"]
    assert (left.from_id, left.to_id, left.detected_us, left.missing) == ("7", "8", 500, 2)
    detector = ConsecutiveIds(known)
    (hole,) = detector.resume("X", earlier.published["X"])
    assert (hole.from_id, hole.to_id) == ("1200", "1200")


def test_a_topic_that_is_read_in_part_says_whom_it_does_not_know(settings: Settings) -> None:
    Reader(settings, "binance").close()
    with KafkaPublisher(settings) as publisher:
        publisher.publish([envelope(1, "OLD")])
        publisher.publish([envelope(number) for number in range(1_000)])
    earlier = read_resume_point(settings, exchange("binance"), ["X", "OLD"], 2_000, 100, threading.Event())
    assert (list(earlier.published), earlier.unknown) in (
        (["X"], ["OLD"]),
        (["X", "OLD"], []),  # the two share no partition
    )


def trade(number: int) -> Trade:
    return Trade("X", str(number), "1", "1", str(START_US // 1_000 + number), "BUY", "", "{}")


@pytest.mark.parametrize("streamed_first", [False, True])
def test_the_hole_is_the_same_whether_the_stream_or_the_topic_is_read_first(streamed_first: bool) -> None:
    detector = ConsecutiveIds(exchange("binance"))
    left = Gap("X", "3", "4", 1, 2, 2, 3, IdRanges(3, 4))
    gaps = detector.observe([trade(20), trade(21)]) if streamed_first else []
    gaps += detector.resume("X", [trade(n) for n in (1, 2, 5, 6, 8, 9)], [left])
    gaps += [] if streamed_first else detector.observe([trade(20), trade(21)])
    assert [(gap.from_id, gap.to_id) for gap in gaps] == [("7", "7"), ("10", "19")]
    assert all(gap.from_us == START_US + (int(gap.from_id) - 1) * 1_000 for gap in gaps)
    detector.fill([trade(number) for number in (3, 7, *range(10, 20))])
    assert ([gap.state for gap in gaps], left.missing) == ([HEALED, HEALED], 1)


def test_the_end_of_a_quiet_symbol_is_found_and_a_dead_subscription_replaced(
    tmp_path: Path, settings: Settings
) -> None:
    """Both symbols' streams die while the connection lives on: one ends there, the other trades on."""
    recording = tmp_path / "a.jsonl"
    synthetic.write(recording, "binance", SYMBOLS["binance"], seconds=300, rate=10, seed=6, start_us=START_US)
    expected = owned("binance", recording.read_bytes())
    reader = Reader(settings, "binance")

    async def main() -> dict[str, int]:
        plan = FaultPlan(3, every=200, kinds=(Fault.DEAF,), rest=0.0, resend=0, late_acks=False)
        simulator = Simulator({"binance": recording}, speed=50.0, wait_for_subscribers=True, plan=plan)
        port = await simulator.start()
        producer = start("binance", SYMBOLS["binance"], settings, port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not (set(reader.trades) >= expected and not reader.open):
                    await asyncio.to_thread(reader.read)
        finally:
            producer.send_signal(signal.SIGTERM)
            await asyncio.to_thread(producer.communicate, None, DEADLINE_S)
            await simulator.close()
        return simulator.progress("binance").faults

    faults = asyncio.run(main())
    reader.close()
    assert faults["DEAF"] >= 2
    assert set(reader.trades) == expected
    assert set(reader.states) == {OPEN, HEALED}
