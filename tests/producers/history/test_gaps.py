"""Invariants: a hole is seen whatever the order of arrival; what REST has fills it, exactly; faults lose no trade."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import REGISTRY, exchange
from producers.exchanges.model import Pages, Rate, RestError, Trade, Trades, TradeSpan
from producers.gaps.consecutive_ids import ConsecutiveIds
from producers.gaps.gap import HEALED, OPEN, UNFILLABLE
from producers.gaps.id_ranges import IdRanges
from producers.gaps.unordered_ids import UnorderedIds
from producers.live import run
from producers.options import ProducerOptions
from producers.rest.client import RestClient, rest_of
from producers.simulator import synthetic
from producers.simulator.faults import Fault, FaultPlan
from producers.simulator.rest import answer
from producers.simulator.server import Simulator
from producers.venue_limits import VenueLimits

pytestmark = pytest.mark.usefixtures("quick_retries")
DEADLINE_S = 25.0
START_US = 1_760_000_000_000_000
# As the simulator's recordings are played much faster than life, so is everything that waits.
FAST = ProducerOptions(
    back_off_s=0.05, healthy_after_s=0.0, close_s=0.2, idle_s=1.5, heal_after_s=0.05, audit_s=0.3,
    breaker_open_s=0.3, requests=Rate(100, 1.0), quiet_s=0.3,
)  # fmt: skip
SYMBOLS = {
    "binance": ["BTCUSDT", "ETHUSDT"],
    "binance_usdm": ["BTCUSDT"],
    "binance_coinm": ["BTCUSD_PERP"],
    "kraken": ["BTC/USD", "DOGE/EUR"],
    "bybit": ["BTCUSDT"],
    "bybit_linear": ["BTCUSDT", "ETHUSDT"],
    "okx": ["BTC-USDT", "ETH-USDT"],
    "coinbase": ["BTC-USD", "ETH-USD"],
}


def trade(number: int, symbol: str = "X", count: int | None = None) -> Trade:
    moment = str(START_US // 1_000 + number)
    return Trade(symbol, str(number), "1", "1", moment, "BUY", "", "{}", matches="" if count is None else str(count))


@given(st.integers(-50, 50), st.integers(0, 60), st.lists(st.integers(-60, 120)))
def test_ids_are_a_set(first: int, length: int, out: list[int]) -> None:
    ids, model = IdRanges(first, first + length), set(range(first, first + length + 1))
    for number in out:
        assert ids.discard(number) == (number in model)
        model.discard(number)
        assert (ids.count, [n for n in range(-70, 130) if ids.has(n)]) == (len(model), sorted(model))


@given(st.lists(st.integers(0, 60), min_size=1, unique=True), st.data())
def test_what_is_open_is_what_no_message_brought(numbers: list[int], data: st.DataObject) -> None:
    """In any order, cut into messages in any way: open holes are the ids between the first seen and the highest."""
    detector, gaps, seen = ConsecutiveIds(exchange("binance")), [], []
    rest = numbers
    while rest:
        size = data.draw(st.integers(1, 4))
        batch, rest = rest[:size], rest[size:]
        gaps += detector.observe([trade(number) for number in batch])
        seen += batch
    missing = {number for gap in gaps if gap.state == OPEN and gap.ids for number in range(70) if gap.ids.has(number)}
    assert missing & set(numbers) == set()
    # The lowest of the first message is where the sequence starts; what is older is nobody's hole.
    assert missing | set(numbers) >= set(range(numbers[0], max(numbers) + 1))
    assert all((gap.state == HEALED) == (gap.missing == 0) for gap in gaps)


def test_a_trade_that_stands_for_several_makes_no_hole() -> None:
    detector = ConsecutiveIds(exchange("okx"))
    assert detector.observe([trade(10, count=1)]) == []
    assert detector.observe([trade(13, count=3)]) == []
    (gap,) = detector.observe([trade(18, count=2)])
    assert (gap.from_id, gap.to_id, gap.found) == ("14", "16", 3)
    detector.observe([trade(16, count=3)])
    assert gap.state == HEALED
    (gap,) = detector.observe([trade(22)])
    assert (gap.from_id, gap.to_id) == ("19", "21")
    detector.observe([trade(22, count=4)])
    assert gap.state == HEALED, "the last id need not be one of those missing"
    assert detector.observe([trade(24, count=10**9)])[0].found == 1, "a garbled number makes no hole disappear"


def test_a_gap_never_has_more_ids_than_its_row_can_count() -> None:
    """`producer_gaps` counts in UInt64. A larger id is none of an exchange's; what follows it is compared as before."""
    detector = ConsecutiveIds(exchange("binance"))
    detector.observe([trade(15)])
    for number in (2**64, 10**20 - 1):
        assert detector.observe([trade(number)]) == []
        assert detector.compare("X", [trade(number)], is_quiet=True) == ([], [])
    (gap,) = detector.observe([trade(18)])
    assert (gap.from_id, gap.to_id, gap.found) == ("16", "17", 2)
    (gap,) = detector.observe([trade(2**64 - 1)])
    assert gap.found == gap.missing == 2**64 - 20 < 2**64


def test_symbols_do_not_mix_and_texts_that_are_no_numbers_are_left_alone() -> None:
    detector = ConsecutiveIds(exchange("binance"))
    mixed = [trade(1, "A"), trade(100, "B"), trade(2, "A"), trade(101, "B")]
    assert detector.observe(mixed) == []
    assert detector.observe([Trade("A", "", "", "", "", "", "", "{}")]) == []
    assert [gap.symbol for gap in detector.observe([trade(4, "A"), trade(103, "B")])] == ["A", "B"]


def test_overlap_finds_what_the_stream_did_not_bring_and_says_where_rest_does_not_reach() -> None:
    overlap = UnorderedIds()
    overlap.observe([trade(number) for number in (1, 2, 3, 7, 8)])
    newest = [trade(number) for number in range(2, 12)]
    lost, (gap,) = overlap.compare("X", newest, is_quiet=False)
    assert [one.trade_id for one in lost] == ["4", "5", "6"]  # 9 and later may still be on their way
    assert (gap.found, gap.state) == (3, OPEN)
    overlap.observe(lost)
    assert overlap.compare("X", newest, is_quiet=False) == ([], [])
    lost, (gap,) = overlap.compare("X", newest, is_quiet=True)
    assert ([one.trade_id for one in lost], gap.found) == (["9", "10", "11"], 3)
    overlap.observe(lost)
    overlap.interrupted("X")
    overlap.observe([trade(number) for number in (50, 51)])
    lost, gaps = overlap.compare("X", [trade(number) for number in range(40, 52)], is_quiet=False)
    assert [one.trade_id for one in lost] == [str(number) for number in range(40, 50)]
    assert [(one.state, one.found) for one in gaps] == [(UNFILLABLE, 0), (OPEN, 10)]
    assert gaps[0].to_us - gaps[0].from_us == (40 - 11) * 1_000


def test_while_a_stream_is_down_every_comparison_must_reach_back_to_the_one_before() -> None:
    overlap = UnorderedIds()
    overlap.observe([trade(1)])
    overlap.interrupted("X")
    lost, gaps = overlap.compare("X", [trade(number) for number in range(1, 5)], is_quiet=True)
    assert [gap.state for gap in gaps] == [OPEN]
    overlap.observe(lost)
    overlap.restored(["X"])
    _, gaps = overlap.compare("X", [trade(number) for number in range(9, 12)], is_quiet=True)
    assert [(gap.state, gap.found) for gap in gaps] == [(UNFILLABLE, 0), (OPEN, 3)]


@pytest.mark.parametrize("code", REGISTRY)
def test_rest_serves_the_very_trades_of_the_stream_page_by_page(code: str, tmp_path: Path) -> None:
    """Every field but the payload, also the order key, whatever interface a trade came from."""
    path = tmp_path / "a.jsonl"
    symbol = SYMBOLS[code][0]
    synthetic.write(path, code, [symbol], seconds=100, rate=30, seed=1, start_us=START_US)
    known = exchange(code)
    streamed = []
    for line in path.read_bytes().splitlines():
        parsed = known.parse(line)
        assert isinstance(parsed, Trades)
        streamed += parsed.records
    rest = known.rest
    assert rest is not None
    if rest.pages is Pages.NONE:
        wanted = streamed[-60:] if code == "bybit" else streamed[-1_000:]
        first = last = 0
    else:
        wanted = streamed[500:2_500]
        first, last = int(wanted[0].trade_id), int(wanted[-1].trade_id)
    span: TradeSpan | None = TradeSpan(first, last, START_US + 500 * 33_333 - 1_000)
    got: dict[str, Trade] = {}
    while span is not None:
        body = answer(code, rest.request(symbol, span), lambda _symbol: streamed)
        assert body is not None
        page = rest.parse(symbol, body.encode())
        assert [int(one.timestamp) if one.timestamp.isdigit() else one.timestamp for one in page] == sorted(
            int(one.timestamp) if one.timestamp.isdigit() else one.timestamp for one in page
        )
        got |= {one.trade_id: one for one in page}
        after = rest_of(span, page, rest.pages) if rest.pages is not Pages.NONE else None
        assert after != span, "no progress"
        span = after

    def fields(one: Trade) -> tuple[object, ...]:
        moment = one.timestamp if code != "kraken" else None  # ISO 8601 there, Unix time here
        return one.symbol, one.trade_id, one.price, one.quantity, moment, one.side, one.sequence

    assert [fields(got[one.trade_id]) for one in wanted[1:]] == [fields(one) for one in wanted[1:]]


def produce(
    code: str,
    recording: Path,
    total: int,
    settings: Settings,
    plan: FaultPlan,
    *,
    speed: float | None = 100.0,
    endpoint: str = "",
) -> tuple[LiveCounters, dict[str, object], set[tuple[str, str]]]:
    """Play to the live producer until it has all: its counters, the simulator's status, and what it owned."""
    known = exchange(code)
    owned = {
        (one.symbol, one.trade_id)
        for line in recording.read_bytes().splitlines()
        if isinstance(parsed := known.parse(line), Trades)
        for one in parsed.records
    }

    async def main() -> tuple[LiveCounters, dict[str, object]]:
        simulator = Simulator({code: recording}, speed=speed, wait_for_subscribers=True, plan=plan)
        port = await simulator.start()
        quiet = 0

        def until(counters: LiveCounters) -> bool:
            # Everything was played, nothing is open, and nothing happened for a while (audits included).
            nonlocal quiet
            over = bool(simulator.status()["done"]) and counters.gaps.open == 0
            quiet = quiet + 1 if over else 0
            return quiet > 10

        counters = await run(
            code, sorted({symbol for symbol, _ in owned}), settings, options=FAST,
            endpoint=f"ws://127.0.0.1:{port}/{code}{endpoint}",
            rest_endpoint=f"http://127.0.0.1:{port}/{code}/rest", until=until, duration_s=DEADLINE_S,
        )  # fmt: skip
        status = simulator.status()
        await simulator.close()
        return counters, status

    counters, status = asyncio.run(main())
    return counters, status, owned


def published(settings: Settings, code: str, consume: Callable[[str], list[Message]]) -> set[tuple[str, str]]:
    values = [json.loads(message.value()) for message in consume(settings.raw_topic(code))]
    return {(value["symbol"], value["trade_id"]) for value in values if value["trade_id"]}


# All of them together, of each kind of exchange, are below.
@pytest.mark.nightly
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_each_fault_alone_loses_no_trade(
    fault: Fault, tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    count = synthetic.write(path, "binance", SYMBOLS["binance"], seconds=200, rate=10, seed=2, start_us=START_US)
    plan = FaultPlan(7, every=400, kinds=(fault,), retry_after_s=0, late_acks=False, resend=0, rest=0.0)
    counters, status, owned = produce("binance", path, count, settings, plan)
    assert status["exchanges"]["binance"]["faults"][fault.name] >= 1  # type: ignore[index]
    assert published(settings, "binance", consume) == owned
    assert counters.gaps.found == counters.gaps.healed
    if fault in {Fault.DROP, Fault.SILENCE, Fault.SKIP, Fault.MALFORMED}:
        assert counters.gaps.healed > 0, "the fault lost nothing: the test shows nothing"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        pytest.param("/stream", "?timeUnit=MICROSECOND", id="stream-us"),
        pytest.param("/ws", "", id="ws-ms"),
        pytest.param("/stream", "", id="stream-ms", marks=pytest.mark.nightly),
        pytest.param("/ws", "?timeUnit=MICROSECOND", id="ws-us", marks=pytest.mark.nightly),
    ],
)
def test_binance_s_endpoints_and_units_of_time_are_kept_by_rest_too(
    path: str, unit: str, tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    recording = tmp_path / "a.jsonl"
    count = synthetic.write(recording, "binance", ["BTCUSDT"], seconds=60, rate=10, seed=2, start_us=START_US)
    plan = FaultPlan(7, every=100, kinds=(Fault.SKIP,), retry_after_s=0, late_acks=False, resend=0, rest=0.0)
    counters, _, owned = produce("binance", recording, count, settings, plan, endpoint=path + unit)
    assert counters.gaps.healed > 0, "nothing came over REST: the test shows nothing"
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("binance"))]
    assert {(value["symbol"], value["trade_id"]) for value in values} == owned
    digits = 16 if unit else 13
    assert {len(value["timestamp"]) for value in values} == {digits}
    assert all(value["timestamp"] in value["payload"] for value in values)
    assert {value["payload"].startswith('{"stream"') for value in values} == {path == "/stream", False}


@pytest.mark.parametrize(
    "code",
    [
        # Ids one after the other, ids without an order, and ids of which one trade may stand for several.
        "kraken",
        "bybit_linear",
        "okx",
        pytest.param("binance", marks=pytest.mark.nightly),
        pytest.param("coinbase", marks=pytest.mark.nightly),
    ],
)
def test_all_faults_together_lose_no_trade_of_any_exchange(
    code: str, tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    count = synthetic.write(path, code, SYMBOLS[code], seconds=200, rate=10, seed=3, start_us=START_US)
    plan = FaultPlan(11, every=150, retry_after_s=0)
    counters, status, owned = produce(code, path, count, settings, plan)
    assert sum(status["exchanges"][code]["faults"].values()) >= 5  # type: ignore[index]
    assert published(settings, code, consume) == owned
    assert (counters.gaps.open, counters.gaps.unfillable) == (0, 0)
    notes = [json.loads(message.value()) for message in consume(settings.gaps_topic)]
    last = {}
    for note in sorted(notes, key=lambda note: note["noted_at"]):
        last[note["exchange_symbol"], note["detected_at"], note["from_id"]] = note["state"]
    assert set(last.values()) == {HEALED}


@pytest.mark.parametrize("code", REGISTRY)
@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", "{}", "null", "[1]", "[{}]", "\u0663"),
        '{"error":["EGeneral"]}',
        '{"code":-1,"msg":"x"}',
        '{"error":[],"result":{"X":[["1"]],"last":"0"}}',
        '[{"id":"x","trade_id":"y"}]',
        '{"retCode":0,"result":{"list":[5]}}',
        '{"code":"0","data":[{}]}',
    ],
)
def test_no_rest_answer_is_anything_else_than_trades_or_an_error(code: str, body: str) -> None:
    known = exchange(code)
    assert known.rest is not None
    client = RestClient(known, known.rest, cast(VenueLimits, None))
    try:
        trades = client._read("X", body.encode())
    except (RestError, msgspec.DecodeError):
        return
    assert all(isinstance(trade, Trade) for trade in trades)


def test_faults_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    from producers.simulator.faults import FaultChoices

    def draw(seed: int) -> list[object]:
        choices = FaultChoices(FaultPlan(seed, every=5))
        return [(choices.fault(), choices.refusal()) for _ in range(500)]

    assert draw(1) == draw(1) != draw(2)


def test_a_hole_that_rest_does_not_fill_is_given_up_and_told(
    settings: Settings, consume: Callable[[str], list[Message]], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    frames = [f'{{"e":"trade","s":"X","t":{n},"p":"1","q":"1","T":{START_US // 1_000 + n},"m":true}}' for n in (1, 5)]
    path.write_text("\n".join(frames))

    async def main() -> LiveCounters:
        simulator = Simulator({"binance": path}, wait_for_subscribers=True)
        port = await simulator.start()
        counters = await run(
            "binance", ["X"], settings, options=dataclasses.replace(FAST, heal_for_s=0.3),
            endpoint=f"ws://127.0.0.1:{port}/binance", rest_endpoint=f"http://127.0.0.1:{port}/binance/rest",
            until=lambda counters: counters.gaps.unfillable > 0, duration_s=DEADLINE_S,
        )  # fmt: skip
        await simulator.close()
        return counters

    counters = asyncio.run(main())
    assert (counters.gaps.found, counters.gaps.unfillable) == (3, 3)
    notes = [json.loads(message.value()) for message in consume(settings.gaps_topic)]
    assert [note["state"] for note in sorted(notes, key=lambda note: note["noted_at"])] == [OPEN, UNFILLABLE]
    assert {(n["from_id"], n["to_id"], n["ids_missing"], n["ids_open"]) for n in notes} == {("2", "4", 3, 3)}
