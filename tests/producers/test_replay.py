"""Invariants: every line of a file is one message, whatever it holds; each is published or counted."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from config.schedule import LONGEST_PAUSE_S, Schedule, SpeedError, parse_speed
from config.settings import Settings
from producers.exchanges import CODES, REGISTRY
from producers.kafka.publisher import KafkaPublisher
from producers.replay.recording import Recording, RecordingError, why_not
from producers.replay.run import replay
from producers.timestamps import event_time_us
from tests.producers.conftest import each_recording_played
from tests.producers.process import Reader
from tests.recorded import OURS, Recorded


@pytest.fixture
def publisher(settings: Settings) -> Iterator[KafkaPublisher]:
    with KafkaPublisher(settings) as one:
        yield one


def lines_of(path: Path, *, longest: int = 1 << 25) -> list[bytes]:
    with Recording(path, longest_message=longest) as recording:
        return list(recording)


def trade(number: int, time_ms: int = 1_700_000_000_000) -> str:
    return f'{{"e":"trade","s":"BTCUSDT","t":{number},"p":"1.50","q":"2","T":{time_ms},"m":true}}'


@each_recording_played
def test_every_recording_arrives_whole(
    recorded: Recorded, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    report = replay([recorded.path], recorded.code, publisher, settings)
    frames = recorded.frames()
    assert report.frames == frames.count
    assert report.trades == report.published == len(frames.trades)
    assert report.unrecognised == 0
    values = [json.loads(message.value()) for message in consume(settings.raw_topic(recorded.code))]
    assert {value["exchange"] for value in values} == {recorded.code}
    got = {(value["symbol"], value["trade_id"], value["price"], value["quantity"], value["side"]) for value in values}
    assert got == set(recorded.trades().select("symbol", "trade_id", "price", "qty", "side").iter_rows())
    assert len(values) == len(frames.trades)


@given(
    st.lists(
        st.binary(max_size=30).filter(
            lambda line: b"\n" not in line and not line.endswith(b"\r") and not line.startswith(codecs.BOM_UTF8)
        )
    ),
    st.data(),
)
def test_lines_come_back_verbatim(lines: list[bytes], data: st.DataObject) -> None:
    import tempfile

    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    content = b"".join(line + end for line in lines)
    if lines and lines[-1] and data.draw(st.booleans()):
        content = content.removesuffix(end)
    packed = data.draw(st.booleans())
    if not packed and content.startswith(b"\x1f\x8b"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        path.write_bytes(gzip.compress(content) if packed else content)
        assert lines_of(path) == lines


def test_a_blank_line_is_an_empty_message_and_the_last_line_end_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\na\r\n\r\n\n")
    assert lines_of(path) == [b"", b"a", b"", b""]
    path.write_bytes(b"")
    assert lines_of(path) == []


@pytest.mark.parametrize("length", range(7, 14))
def test_a_longer_line_is_cut_and_the_next_one_is_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * length + b"\nnext\n")
    assert lines_of(path, longest=10) == [b"x" * min(length, 10), b"next"]


def test_a_damaged_file_publishes_nothing_unless_forced_to_give_what_it_has(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl.gz"
    chosen = random.Random(1)
    noise = "".join(f'{trade(number)[:-1]},"n":"{chosen.randbytes(20).hex()}"}}\n' for number in range(5_000))
    whole = gzip.compress(noise.encode())
    path.write_bytes(whole[: len(whole) // 2])
    good = tmp_path / "b.jsonl"
    good.write_text(trade(9_999))
    with pytest.raises(RecordingError, match=r"a\.jsonl\.gz is damaged or cut off .*fetch it again"):
        replay([good, path], "binance", publisher, settings)
    path.write_bytes(flipped(whole))
    with pytest.raises(RecordingError, match=r"a\.jsonl\.gz is damaged or cut off .*fetch it again"):
        replay([path], "binance", publisher, settings)
    publisher.flush()
    assert consume(settings.raw_topic("binance")) == []
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match=r"damaged after [0-9,]+ messages .*fetch the file again"):
        replay([path], "binance", publisher, settings, force=True)
    assert len(consume(settings.raw_topic("binance"))) > 1_000


def flipped(content: bytes) -> bytes:
    """One bit of the packed messages is another."""
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    return bytes(damaged)


CASES = Path(__file__).resolve().parents[1] / "cases" / "hostile-files"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("utf16.jsonl", "UTF-16"),
        ("pretty.json", "pretty-printed"),
        ("array.json", "a JSON array"),
        ("zipped.zip", "a zip file"),
        ("stamped.txt", "after other text"),
        ("cr-only.jsonl", "CR alone"),
        ("cut.jsonl.gz", "damaged or cut off"),
        ("flipped.jsonl.gz", "damaged or cut off"),
    ],
)
def test_what_is_no_recording_stops_with_a_hint(
    name: str, why: str, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    with pytest.raises(RecordingError, match=why) as refused:
        replay([CASES / name], "binance", publisher, settings)
    assert str(CASES / name) in str(refused.value)
    publisher.flush()
    assert consume(settings.raw_topic("binance")) == []
    if not name.endswith(".gz"):
        assert replay([CASES / name], "binance", publisher, settings, force=True).unrecognised > 0


def test_another_exchanges_recording_and_any_other_text_stop_with_a_hint(
    tmp_path: Path, recordings: Path, settings: Settings, publisher: KafkaPublisher
) -> None:
    with pytest.raises(RecordingError, match=r"messages of kraken: name the exchange"):
        replay([recordings / "kraken_v2_btcusd.jsonl"], "bybit", publisher, settings)
    # A status and an acknowledgement that both have come before Kraken's first trade.
    with pytest.raises(RecordingError, match=r"messages of kraken: name the exchange"):
        replay([recordings / "kraken_v2_btcusd.jsonl"], "coinbase", publisher, settings)
    path = tmp_path / "log.txt"
    path.write_text("2026-01-01 started\n" * 19)
    assert replay([path], "binance", publisher, settings).unrecognised == 19
    path.write_text("2026-01-01 started\n" * 20)
    with pytest.raises(RecordingError, match=r"none of its first 20 lines"):
        replay([path], "binance", publisher, settings)


SPOT = '{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"1.5","q":"2","T":1700000000000,"m":true,"M":true}'
USDM = '{"e":"trade","E":1,"T":1700000000000,"s":"BTCUSDT","t":7,"p":"1.5","q":"2","X":"MARKET","m":true}'
COINM = '{"e":"trade","E":1,"T":1700000000000,"s":"ETHUSD_PERP","t":7,"p":"1.5","q":"2","X":"MARKET","m":true}'
BYBIT = (
    '{"topic":"publicTrade.X","data":[{"T":1,"s":"ETHUSDT","S":"Buy","v":"2","p":"1.5","i":"29","BT":false,"seq":1}]}'
)
LINEAR = BYBIT.replace('"i":"29"', '"L":"PlusTick","i":"792005e8-3d76"')


@pytest.mark.parametrize(
    ("line", "market", "others"),
    [
        (SPOT, "binance", ("binance_usdm", "binance_coinm")),
        (f'{{"stream":"btcusdt@trade","data":{SPOT}}}', "binance", ("binance_usdm", "binance_coinm")),
        (USDM, "binance_usdm", ("binance", "binance_coinm")),
        (COINM, "binance_coinm", ("binance", "binance_usdm")),
        (BYBIT, "bybit", ("bybit_linear",)),
        (LINEAR, "bybit_linear", ("bybit",)),
    ],
)
def test_a_trade_tells_its_market_where_markets_share_a_parser(line: str, market: str, others: tuple[str, ...]) -> None:
    lines = [b'{"success":true,"op":"subscribe"}'] * market.startswith("bybit") + [line.encode()]
    assert why_not(lines, REGISTRY[market]) == ""
    for other in (*others, "okx"):
        assert why_not(lines, REGISTRY[other]).startswith(f"messages of {market}: name the exchange and market")


def test_another_markets_recording_stops_unless_forced(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(SPOT)
    with pytest.raises(RecordingError, match=r"it seems to be messages of binance: .* Nothing was published"):
        replay([path], "binance_usdm", publisher, settings)
    assert publisher.statistics.accepted == 0
    assert replay([path], "binance_usdm", publisher, settings, force=True).trades == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (json.dumps([{"e": "trade"}, {"e": "x"}], indent=1).encode(), "pretty-printed"),
        (b'\n{ "e": "trade",\n  "s": "BTCUSDT" }\n', "pretty-printed"),
        (b'[\n{"e":"trade"},\n{"e":"x"}\n]\n', "pretty-printed"),
        ("{}\n".encode("utf-16-be"), "UTF-16"),
        (b"<!DOCTYPE html>\n<title>404</title>\n", "a web page"),
        (b"PAR1\x15\x04\x15\x10", "a Parquet file"),
        (gzip.compress(gzip.compress(SPOT.encode())), "packed by gzip twice"),
        ((SPOT * 3).encode(), "several messages on a line"),
        ("\u2028".join([SPOT] * 3).encode(), "several messages on a line"),
    ],
)
def test_other_files_that_are_no_recording(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with Recording(path, longest_message=1_000) as recording:
        assert why_not(recording, REGISTRY["binance"]).startswith(why)


@pytest.mark.parametrize("name", ["bom.jsonl", "crlf.jsonl"])
def test_a_mark_of_utf_8_costs_no_message(name: str, settings: Settings, publisher: KafkaPublisher) -> None:
    report = replay([CASES / name], "binance", publisher, settings)
    lines = (CASES / name).read_text("utf-8-sig").splitlines()
    assert (report.trades, report.unrecognised) == (len(lines), 0)


def test_a_mark_within_joined_files_costs_no_message(tmp_path: Path) -> None:
    path = tmp_path / "joined.jsonl"
    path.write_bytes((codecs.BOM_UTF8 + SPOT.encode() + b"\n") * 3)
    assert lines_of(path) == [SPOT.encode()] * 3


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_first_line_that_is_too_long_is_one_message_with_a_mark_or_without(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "a.jsonl"
    for length in (19, 20, 21, 100):
        path.write_bytes(mark + b"x" * length + b"\nsecond\n")
        with Recording(path, longest_message=20) as recording:
            assert list(recording) == [b"x" * min(length, 20), b"second"]


def test_a_missing_file_says_so(tmp_path: Path, settings: Settings, publisher: KafkaPublisher) -> None:
    with pytest.raises(RecordingError, match="give the path of a recording"):
        replay([tmp_path / "none.jsonl"], "binance", publisher, settings)


def test_bad_lines_are_published_unparsed_and_the_next_trade_goes_through(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    bad = [b"", b"   ", b"{", b"\xff\xfe", b'{"e":"?"}', b"y" * 10_000_000]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([*bad, trade(1).encode()]))
    report = replay([path], "binance", publisher, settings)
    assert (report.frames, report.unrecognised, report.trades, report.published) == (7, 6, 1, 7)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("binance"))]
    assert sorted(len(value["payload"]) for value in values if not value["trade_id"]) == [0, 1, 3, 4, 9, 10_000_000]
    assert [value["trade_id"] for value in values if value["trade_id"]] == ["1"]


def test_an_exchange_without_a_parser_goes_to_the_dlq_under_its_code(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(trade(1) + "\n" + trade(2) + "\n")
    with pytest.raises(RecordingError, match=r"mtgox: no such exchange code, use one of binance, .*--unlisted"):
        replay([path], "mtgox", publisher, settings, force=True)
    publisher.flush()
    assert publisher.statistics.accepted == 0
    report = replay([path], "mtgox", publisher, settings, unlisted=True)
    assert (report.unrecognised, report.trades, report.published) == (2, 0, 2)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("mtgox"))]
    assert {(value["exchange"], value["payload"]) for value in values} == {("mtgox", trade(1)), ("mtgox", trade(2))}


def test_recorded_receive_times_are_kept_and_must_fit(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(trade(1) + "\n" + '{"result":null,"id":1}' + "\n" + trade(2) + "\n")
    times = tmp_path / "a.recv_ns.txt.gz"
    times.write_bytes(gzip.compress(b"1000001999\n2000000000\n3000003000\n"))
    replay([path], "binance", publisher, settings)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("binance"))]
    assert {value["trade_id"]: value["received_at"] for value in values} == {"1": 1_000_001, "2": 3_000_003}
    times.write_bytes(gzip.compress(b"1000001999\n"))
    with pytest.raises(RecordingError, match=r"message 2; repair or remove"):
        replay([path], "binance", publisher, settings)


def test_without_receive_times_it_is_now(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(trade(1))
    before = time.time_ns() // 1_000
    replay([path], "binance", publisher, settings)
    (message,) = consume(settings.raw_topic("binance"))
    assert before <= json.loads(message.value())["received_at"] <= time.time_ns() // 1_000


def test_speed_keeps_the_distances_of_the_recording(
    tmp_path: Path, settings: Settings, publisher: KafkaPublisher, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(trade(number, 1_700_000_000_000 + 1_000 * number) for number in range(4)))
    seen: list[float] = []
    begun_us = time.time_ns() // 1_000
    report = replay([path], "binance", publisher, settings, speed=10, progress=lambda _report, part: seen.append(part))
    assert report.seconds >= 0.3
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("binance"))]
    received = [value["received_at"] for value in sorted(values, key=lambda value: value["trade_id"])]
    # None comes before it is due. After a late one the next may come sooner: it keeps its own time.
    assert all(at >= begun_us + 100_000 * place for place, at in enumerate(received))


def test_ctrl_c_says_what_is_published_and_how_to_go_on(
    tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(trade(number, 1_700_000_000_000 + 60_000 * (number // 5)) for number in range(10)))
    names = {"MEDALLION_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers, "XDG_STATE_HOME": str(tmp_path)}
    command = subprocess.Popen(
        [sys.executable, "-m", "cli", "replay", str(path), "--exchange", "binance", "--speed", "1"],
        env={**os.environ, **names},
        stderr=subprocess.PIPE,
        text=True,
    )
    # The sixth is due a minute after the fifth.
    reader = Reader(settings, "binance")
    while reader.trades.total() < 5 and command.poll() is None:
        reader.read()
    reader.close()
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130
    assert said.startswith("Stopped by Ctrl-C. Done: 5 messages published. Left: ")
    assert "Run the same command again: a trade that is published twice is a counted duplicate.\n" in said
    assert len(consume(settings.raw_topic("binance"))) == 5


@given(st.lists(st.none() | st.integers(0, 10**15), max_size=30), st.sampled_from([0.5, 1.0, 100.0]))
def test_the_schedule_never_goes_back_and_never_waits_longer_than_a_pause(
    times: list[int | None], speed: float
) -> None:
    schedule = Schedule(speed, 5.0)
    due = [5.0, *(schedule.due_s(time) for time in times)]
    assert all(0 <= later - earlier <= LONGEST_PAUSE_S / speed + 1e-6 for earlier, later in pairwise(due))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1_700_000_000_000_000),
        ("1700000000123", 1_700_000_000_123_000),
        ("1700000000123456", 1_700_000_000_123_456),
        ("1700000000123456789", 1_700_000_000_123_456),
        ("2023-11-14T22:13:20.123456Z", 1_700_000_000_123_456),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000_000_000),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("0001-01-01T00:00:00+23:59", -62135683140000000),
    ],
)
def test_event_times(text: str, expected: int | None) -> None:
    assert event_time_us(text) == expected


def test_speeds() -> None:
    assert (parse_speed("max"), parse_speed("2.5")) == (None, 2.5)
    for text in ("0", "-1", "fast", "nan", "", "inf"):
        with pytest.raises(SpeedError, match="give a number above 0"):
            parse_speed(text)


def test_the_pages_and_the_help_name_the_code_of_each_market() -> None:
    root = Path(__file__).resolve().parents[2]
    replayed = (root / "docs" / "producers.md").read_text("utf-8").partition("\n## Replay\n")[2].partition("\n## ")[0]
    for code, known in REGISTRY.items():
        assert known.title
        assert f"| `{code}` | {known.title}" in replayed
        assert f"{code} ({known.title})" in CODES
    recorded = (root / "tests" / "recordings" / "README.md").read_text("utf-8")
    for one in OURS.values():
        assert f"| `{one.path.name}` | `{one.code}` |" in recorded
