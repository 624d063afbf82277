"""Invariant: every trade of the window that an exchange serves is published, killed runs included; the rest is said."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

import producers.backfill.rest_window
import producers.simulator.player
from config.settings import Settings
from producers.backfill.checkpoint import BackfillCheckpoint, CheckpointError
from producers.backfill.from_rest import IncompleteError, RestBackfill
from producers.backfill.report import BackfillReport
from producers.exchanges import exchange
from producers.exchanges.model import Rate, Trade, Trades
from producers.gaps.events import GapEvents
from producers.gaps.gap import Gap
from producers.gaps.id_ranges import IdRanges
from producers.kafka.publisher import KafkaPublisher
from producers.options import ProducerOptions
from producers.rest.history import search
from producers.simulator import synthetic
from producers.simulator.faults import FaultPlan
from producers.simulator.server import Simulator
from producers.timestamps import event_time_us

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2025, 10, 9, 8, tzinfo=UTC)
SECONDS, RATE = 300, 20
SYMBOLS = {
    "binance": ["BTCUSDT", "ETHUSDT"],
    "binance_usdm": ["BTCUSDT"],
    "kraken": ["BTC/USD", "DOGE/EUR"],
    "okx": ["BTC-USDT", "ETH-USDT"],
    "coinbase": ["BTC-USD", "ETH-USD"],
}
DEADLINE_S = 60.0

pytestmark = pytest.mark.usefixtures("quick_retries")


def write(path: Path, code: str, symbols: Sequence[str]) -> None:
    synthetic.write(path, code, symbols, seconds=SECONDS, rate=RATE, seed=9, start_us=int(START.timestamp() * 1e6))


def within(code: str, recording: Path, start: datetime, end: datetime) -> set[tuple[str, str]]:
    """The trades of [start, end), by the times in the recording."""
    known = exchange(code)
    found = set()
    for line in recording.read_bytes().splitlines():
        parsed = known.parse(line)
        assert isinstance(parsed, Trades)
        for trade in parsed.records:
            text = trade.timestamp
            moment = (
                datetime.fromtimestamp(int(text) / 1e3, UTC) if text.isdigit() else datetime.fromisoformat(text)
            )  # fmt: skip
            if start <= moment < end:
                found.add((trade.symbol, trade.trade_id))
    return found


def published(settings: Settings, code: str, consume: Callable[[str], list[Message]]) -> Counter[tuple[str, str]]:
    messages = consume(settings.raw_topic(code))
    assert all(dict(message.headers() or [])["source"] == b"backfill" for message in messages)
    values = [json.loads(message.value()) for message in messages]
    return Counter((value["symbol"], value["trade_id"]) for value in values)


def run(
    code: str,
    recording: Path,
    start: datetime,
    end: datetime,
    settings: Settings,
    checkpoint: Path,
    *,
    faults: float = 0.15,
    needless: Mapping[str, Collection[date]] | None = None,
) -> BackfillReport:
    """The whole recording has been played; REST refuses some requests."""

    async def main() -> BackfillReport:
        plan = FaultPlan(4, kinds=(), rest=faults, retry_after_s=0)
        simulator = Simulator({code: recording}, plan=plan)
        port = await simulator.start()
        await simulator.wait()
        options = ProducerOptions(requests=Rate(1_000, 1.0), breaker_failures=50)
        url = f"http://127.0.0.1:{port}/{code}/rest"
        with BackfillCheckpoint(checkpoint, "w") as steps:
            symbols = [*needless] if needless else SYMBOLS.get(code, ["BTCUSDT"])
            asked = RestBackfill(code, symbols, start, end, url, options, needless or {})
            done = await asked.run(settings, steps)
        await simulator.close()
        return done

    return asyncio.run(main())


@pytest.mark.parametrize(
    "code",
    [
        "binance_usdm",
        "kraken",
        *(pytest.param(code, marks=pytest.mark.nightly) for code in ("binance", "okx", "coinbase")),
    ],
)
def test_every_trade_of_the_window_arrives_once(
    code: str,
    tmp_path: Path,
    settings: Settings,
    consume: Callable[[str], list[Message]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDALLION_BINANCE_API_KEY", "simulated")
    recording, start, end = tmp_path / "a.jsonl", START + timedelta(seconds=70), START + timedelta(seconds=230)
    write(recording, code, SYMBOLS[code])
    expected = within(code, recording, start, end)
    assert len(expected) == 160 * RATE
    report = run(code, recording, start, end, settings, tmp_path / "checkpoint")
    assert (report.missing, report.published, report.share) == ([], len(expected), 1.0)
    assert published(settings, code, consume) == dict.fromkeys(expected, 1)
    again = run(code, recording, start, end, settings, tmp_path / "checkpoint")
    assert (again.skipped, again.published) == (len(SYMBOLS[code]), 0)


def test_a_dry_run_says_which_symbol_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers.backfill.rest_window, "_TRIES", 1)
    asked = RestBackfill("kraken", ["BTC/USD"], START, START + timedelta(days=1), "http://127.0.0.1:9")
    with (
        BackfillCheckpoint(tmp_path / "checkpoint", "w") as checkpoint,
        pytest.raises(IncompleteError, match=r"^BTC/USD: .*try again later"),
    ):
        asyncio.run(asked.estimate(checkpoint))


def test_needless_days_are_not_asked_for(
    tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    """A recording over midnight; the needless day is not published again, and its neighbour is."""
    recording, midnight = tmp_path / "a.jsonl", datetime(2025, 10, 10, tzinfo=UTC)
    start, end = midnight - timedelta(seconds=60), midnight + timedelta(seconds=60)
    start_us = int((midnight - timedelta(seconds=100)).timestamp() * 1e6)
    synthetic.write(recording, "kraken", ["BTC/USD"], seconds=200, rate=RATE, seed=9, start_us=start_us)
    expected = within("kraken", recording, midnight, end)
    needless = {"BTC/USD": {midnight.date() - timedelta(days=1)}}
    report = run("kraken", recording, start, end, settings, tmp_path / "checkpoint", needless=needless)
    assert (report.parts, report.missing) == (1, [])
    assert published(settings, "kraken", consume) == dict.fromkeys(expected, 1)
    # The first day lacks something after all: only this day is asked for now.
    report = run("kraken", recording, start, end, settings, tmp_path / "checkpoint", needless={"BTC/USD": set()})
    assert published(settings, "kraken", consume) == dict.fromkeys(within("kraken", recording, start, end), 1)


def test_a_window_is_done_only_if_it_was_over_when_it_was_looked_at(tmp_path: Path, settings: Settings) -> None:
    recording, start = tmp_path / "a.jsonl", START + timedelta(seconds=70)
    write(recording, "kraken", SYMBOLS["kraken"])
    ends = {"over": START + timedelta(seconds=SECONDS), "not over": datetime.now(UTC) + timedelta(hours=1)}
    found = {}
    for name, end in ends.items():
        run("kraken", recording, start, end, settings, tmp_path / name)
        again = run("kraken", recording, start, end, settings, tmp_path / name)
        found[name] = (again.skipped, again.published > 0)
    assert found == {"over": (2, False), "not over": (0, True)}
    # A run was killed before its window was over: what came after its last look is asked for, too.
    checkpoint = tmp_path / "killed"
    stale = {"total": 0, "window": [0, -1], "left": [], "since_us": 0, "unreachable": None}
    window = RestBackfill("kraken", ["BTC/USD"], start, ends["over"])
    with BackfillCheckpoint(checkpoint, "w") as steps:
        steps.put(window.tasks(steps)[0].name, stale)
    lives = [
        run("kraken", recording, start, ends["over"], settings, checkpoint, needless={"BTC/USD": set()})
        for _ in range(3)
    ]
    assert [one.published > 0 for one in lives] == [False, True, False]


def test_what_an_exchange_does_not_serve_is_said_and_noted(
    tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bybit's spot market: the newest 60. OKX: three months, here 500 trades. USD-M without a key: the newest page."""
    monkeypatch.delenv("MEDALLION_BINANCE_API_KEY", raising=False)
    monkeypatch.setattr(producers.simulator.player, "_OWNED", 500)
    monkeypatch.setitem(SYMBOLS, "okx", ["BTC-USDT"])
    start, end = START, START + timedelta(seconds=SECONDS)
    notes = []
    for code, newest, why in (
        ("bybit", 60, "not served"),
        ("okx", 500, "not served"),
        ("binance_usdm", 500, "API_KEY"),
    ):
        recording = tmp_path / code
        write(recording, code, SYMBOLS.get(code, ["BTCUSDT"]))
        report = run(code, recording, start, end, settings, tmp_path / f"{code}.checkpoint")
        expected = within(code, recording, end - timedelta(seconds=newest / RATE), end)
        (missing,) = report.missing
        assert why in missing
        got = set(published(settings, code, consume))
        # Of Bybit's page the last match is left out: the page's end may have cut it in two.
        assert got == expected or (code == "bybit" and len(got) == 59 and got < expected)
        notes = [json.loads(message.value()) for message in consume(settings.gaps_topic)]
        (note,) = [note for note in notes if note["exchange"] == code]
        assert (note["state"], note["from_time"], note["ids_missing"]) == ("unfillable", start.timestamp() * 1e6, 0)
        assert 0 <= note["to_time"] - (end.timestamp() - newest / RATE) * 1e6 < 2e6 / RATE
        with BackfillCheckpoint(tmp_path / f"{code}.checkpoint", "w") as checkpoint:
            assert not checkpoint.is_done(
                RestBackfill(code, SYMBOLS.get(code, ["BTCUSDT"]), start, end).tasks(checkpoint)[0].name
            ), "what is not served today may be another day"


def test_gaps_that_were_known_are_closed_or_given_up(
    tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of live producers and of dumps: those of the window that is served, before it, and outside of it."""
    monkeypatch.setattr(producers.simulator.player, "_OWNED", 500)
    monkeypatch.setitem(SYMBOLS, "okx", ["BTC-USDT"])
    recording = tmp_path / "okx"
    write(recording, "okx", ["BTC-USDT"])
    start, end = START, START + timedelta(seconds=SECONDS)
    served = sorted(int(number) for _, number in within("okx", recording, end - timedelta(seconds=500 / RATE), end))
    first_us, end_us = int(start.timestamp() * 1e6), int(end.timestamp() * 1e6)
    gaps = {
        "healed": (served[100], served[110], end_us - 20_000_000),
        "unfillable": (served[0] - 300, served[0] - 290, first_us + 5_000_000),
        "open": (served[-1] + 100, served[-1] + 101, end_us + 60_000_000),
    }
    with KafkaPublisher(settings) as publisher:
        note = GapEvents(publisher, settings, "okx")
        for first, last, time_us in gaps.values():
            note(Gap("BTC-USDT", str(first), str(last), time_us, time_us, last - first + 1, 7, IdRanges(first, last)))
    report = run("okx", recording, start, end, settings, tmp_path / "checkpoint")
    assert (report.gaps_healed, report.gaps) == (1, 1)
    for _ in range(2):
        notes = [json.loads(message.value()) for message in consume(settings.gaps_topic)]
        newest = {note["from_id"]: note for note in sorted(notes, key=lambda note: note["noted_at"])}
        assert {newest[str(first)]["state"]: first for first, _, _ in gaps.values()} == {
            state: first for state, (first, _, _) in gaps.items()
        }
        assert len({(note["from_id"], note["detected_at"]) for note in notes}) == 4, "no second row of the same"
        run("okx", recording, start, end, settings, tmp_path / "another checkpoint")


@contextmanager
def simulator(recording: Path, code: str, state: Path) -> Iterator[str]:
    """In a process of its own, its recording played."""
    argv = [sys.executable, "-m", "producers.simulator", "--recording", f"{code}={recording}", "--speed", "max",
            "--state", str(state)]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not state.exists():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            yield state.read_text()
        finally:
            process.terminate()


def command(arguments: Sequence[str], settings: Settings, **more: Any) -> subprocess.Popen[bytes]:
    environment = os.environ | {"MEDALLION_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
    return subprocess.Popen([sys.executable, "-m", "cli", "backfill", *arguments], env=environment, cwd=ROOT,
                            stdout=subprocess.PIPE, **more)  # fmt: skip


def test_the_command_killed_and_run_again_publishes_everything_and_fetches_little_twice(
    tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    recording, checkpoint = tmp_path / "a.jsonl", tmp_path / "checkpoint"
    write(recording, "kraken", SYMBOLS["kraken"])
    end = START + timedelta(seconds=SECONDS)
    with simulator(recording, "kraken", tmp_path / "address") as address:
        arguments = ["--exchange", "kraken", "--symbols", ",".join(SYMBOLS["kraken"]), "--from", f"{START:%FT%T}",
                     "--to", f"{end:%FT%T}", "--rest-endpoint", f"http://{address}/kraken/rest",
                     "--state", str(checkpoint), "--json"]  # fmt: skip
        dry = command([*arguments, "--dry-run"], settings)
        estimates = json.loads(dry.communicate(timeout=DEADLINE_S)[0])
        assert sum(one["trades"] for one in estimates) == SECONDS * RATE
        assert [one["requests"] for one in estimates] == [4, 3] or [one["requests"] for one in estimates] == [3, 4]
        assert checkpoint.read_bytes() == b""
        first = command(arguments, settings)
        deadline = time.monotonic() + DEADLINE_S
        # Kraken allows a request a second.
        while checkpoint.read_bytes().count(b"\n") < 2:
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
        first.communicate()
        with checkpoint.open("ab") as file:
            file.write(b'{"name": "torn')
        second = command(arguments, settings)
        report = json.loads(second.communicate(timeout=DEADLINE_S)[0])
        assert second.returncode == 0
    got = published(settings, "kraken", consume)
    assert set(got) == within("kraken", recording, START, end)
    assert report["published"] < SECONDS * RATE
    assert got.total() - len(got) <= 2_000, "at most a page a symbol comes twice"


def test_a_checkpoint_belongs_to_one_process_and_another_file_is_refused(tmp_path: Path) -> None:
    with BackfillCheckpoint(tmp_path / "a", "w") as checkpoint:
        checkpoint.put("x", {"done": True})
        with pytest.raises(CheckpointError, match="in use"), BackfillCheckpoint(tmp_path / "a", "w"):
            pass
    with BackfillCheckpoint(tmp_path / "a", "w") as checkpoint:
        assert checkpoint.is_done("x")
        assert not checkpoint.is_done("y")
    (tmp_path / "b").write_text("no checkpoint\n")
    with pytest.raises(CheckpointError, match="no checkpoint"), BackfillCheckpoint(tmp_path / "b", "w"):
        pass


def trade(number: int, time_us: int) -> Trade:
    return Trade("X", str(number), "1", "1", str(time_us), "BUY", "", "")


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=80),
    st.data(),
    st.booleans(),
    st.integers(1, 9),
)
def test_the_first_trade_of_a_time_is_found_by_looking_at_ids(
    steps: list[int], data: st.DataObject, forward: bool, size: int
) -> None:
    """Whatever the distances of ids and times, the size of a page and its direction."""
    ids, times, number, moment = [], [], data.draw(st.integers(0, 1_000)), 10**15
    for step in steps:
        number += data.draw(st.sampled_from([1, 1, 1, step]))
        moment += (step - 1) * 1_000
        ids.append(number)
        times.append(moment)
    served = data.draw(st.integers(0, len(ids) - 1))
    trades = [trade(*one) for one in zip(ids, times, strict=True)][served:]

    async def probe(number: int) -> list[Trade]:
        if forward:
            return [one for one in trades if int(one.trade_id) >= number][:size]
        return [one for one in trades if int(one.trade_id) <= number][-size:]

    wanted = data.draw(st.integers(10**15 - 1, moment))
    found, oldest_us = asyncio.run(search(probe, wanted, trades[-size:]))
    expected = next(one for one in trades if (event_time_us(one.timestamp) or 0) >= wanted)
    assert found == int(expected.trade_id)
    assert oldest_us == (times[served] if wanted <= times[served] else None)
