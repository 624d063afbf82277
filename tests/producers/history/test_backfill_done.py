"""Invariants: done is every row of a file with this checksum in this warehouse; each hole in its ids is a row."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import subprocess
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from cli.common.state_folder import stack_id
from config.settings import Settings
from producers.backfill.checkpoint import BackfillCheckpoint, CheckpointError
from producers.backfill.dumps import Day
from producers.backfill.from_dumps import backfill, days
from producers.backfill.report import DumpReport
from producers.exchanges import exchange
from producers.gaps.events import GapEvents
from producers.gaps.gap import OPEN, UNFILLABLE, Gap
from producers.gaps.id_ranges import IdRanges
from producers.gaps.resume import read_resume_point
from producers.kafka.publisher import KafkaPublisher
from tests import command

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "tests" / "cases"
NEW_YEAR, SECOND = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)
Consume = Callable[[str], list[Message]]


def csv(
    folder: Path, ids: Iterable[int], day: datetime = NEW_YEAR, *, maker: str = "True", symbol: str = "BTCUSDT"
) -> Path:
    """A trade a second, at 94,000 + its id / 100; the time is that of the id within its day."""
    start = int(day.timestamp() * 1e6)
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{symbol}-trades-{day:%Y-%m-%d}.csv"
    lines = [
        f"{number},{94_000 + number / 100:.2f},0.5,1,{start + number % 1_000 * 1_000_000},{maker},True\n"
        for number in ids
    ]
    path.write_text("".join(lines))
    return path


def fill(
    wanted: list[Day], start: datetime, end: datetime, settings: Settings, checkpoint: Path, source: str
) -> DumpReport:
    with BackfillCheckpoint(checkpoint, "w") as steps:
        return backfill(wanted, start, end, settings, steps, source=source)


def fill_all(source: Path | str, settings: Settings, checkpoint: Path, last: datetime = SECOND) -> DumpReport:
    return fill(days("binance", ["BTCUSDT"], NEW_YEAR, last), NEW_YEAR, last, settings, checkpoint, source=str(source))


def values(settings: Settings, consume: Consume) -> list[dict[str, Any]]:
    return [json.loads(message.value()) for message in consume(settings.raw_topic("binance"))]


def gap_rows(settings: Settings, consume: Consume) -> dict[tuple[str, str], tuple[str, int, int, int]]:
    """As `producer_gaps` shows them: the newest state by what makes a row."""
    notes = [json.loads(message.value()) for message in consume(settings.gaps_topic)]
    newest = {}
    for note in sorted(notes, key=lambda note: note["noted_at"]):
        newest[note["exchange_symbol"], note["detected_at"], note["from_id"], note["from_time"]] = note
    rows = {(note["from_id"], note["to_id"]): note for note in newest.values()}
    assert len(rows) == len(newest), "no gap has two rows"
    return {ids: (note["state"], note["ids_missing"], note["ids_open"], note["to_time"] - note["from_time"])
            for ids, note in rows.items()}  # fmt: skip


def test_what_is_damaged_at_its_very_end_publishes_nothing_and_the_others_go_on(
    settings: Settings, tmp_path: Path, consume: Consume
) -> None:
    """BTCUSDT and SOLUSDT are cut off, ETHUSDT has a flipped bit, XRPUSDT is no gzip, ADAUSDT's last line is cut."""
    broken = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT"]
    folder = tmp_path / "files"
    shutil.copytree(CASES / "dump-truncated", folder)
    csv(folder, range(1, 2_001), symbol="LTCUSDT")
    wanted = days("binance", [*broken, "LTCUSDT"], NEW_YEAR, SECOND)
    report = fill(wanted, NEW_YEAR, SECOND, settings, tmp_path / "s", source=str(folder))
    assert sorted(Path(failure.split(": ")[0]).name.partition("-")[0] for failure in report.failures) == sorted(broken)
    assert {value["symbol"] for value in values(settings, consume)} == {"LTCUSDT"}
    assert (report.rows, report.published, report.parts) == (2_000, 2_000, 6)
    again = fill(wanted, NEW_YEAR, SECOND, settings, tmp_path / "s", source=str(folder))
    assert (again.skipped, len(again.failures)) == (1, 5)


def test_every_odd_case_is_right_or_refused(settings: Settings, tmp_path: Path, consume: Consume) -> None:
    symbols = ["ADAUSDT", "BTCUSDT", "DOTUSDT", "ETHUSDT", "LINKUSDT", "LTCUSDT", "SOLUSDT", "UNIUSDT", "XRPUSDT"]
    folder = CASES / "dump-odd-encodings"
    report = fill(
        days("binance", symbols, NEW_YEAR, SECOND), NEW_YEAR, SECOND, settings, tmp_path / "s", source=str(folder)
    )
    refused = {"BTCUSDT": "UTF-16", "SOLUSDT": "is empty", "UNIUSDT": "semicolons", "XRPUSDT": "has no trades"}
    for symbol, why in refused.items():
        (failure,) = [one for one in report.failures if f"/{symbol}-" in one]
        assert why in failure
    assert len(report.failures) == 4
    got = Counter(value["symbol"] for value in values(settings, consume))
    assert got == {"ADAUSDT": 6, "DOTUSDT": 3, "ETHUSDT": 10, "LINKUSDT": 3, "LTCUSDT": 3}
    by_id = {(v["symbol"], v["trade_id"]): (v["price"], v["side"]) for v in values(settings, consume)}
    for symbol in ("DOTUSDT", "LTCUSDT", "LINKUSDT"):
        assert by_id[symbol, "2"] == ("94000.01000000", "SELL")


def test_every_entry_of_the_zips_of_the_case_is_read(settings: Settings, tmp_path: Path, consume: Consume) -> None:
    folder = CASES / "dump-zip-folder-entry"
    wanted = days("binance", ["BTCUSDT", "ETHUSDT"], NEW_YEAR, SECOND)
    report = fill(wanted, NEW_YEAR, SECOND, settings, tmp_path / "s", source=str(folder))
    assert (report.published, report.failures) == (20, [])
    assert Counter(value["symbol"] for value in values(settings, consume)) == {"BTCUSDT": 10, "ETHUSDT": 10}


def test_a_row_that_is_no_trade_is_a_dead_letter_and_the_rest_is_done(
    settings: Settings, tmp_path: Path, consume: Consume
) -> None:
    path = csv(tmp_path, range(1, 6))
    path.write_text(path.read_text().replace("3,94000.03,0.5,1,", "3,94000.03,"))
    report = fill_all(tmp_path, settings, tmp_path / "s")
    assert (report.rows, report.dead, report.published, report.failures) == (5, 1, 5, [])
    (dead,) = [value for value in values(settings, consume) if not value["trade_id"]]
    assert json.loads(dead["payload"])["line"] == 3
    assert gap_rows(settings, consume) == {("3", "3"): ("open", 1, 1, 2_000_000)}


def test_holes_are_rows_which_later_files_close(settings: Settings, tmp_path: Path, consume: Consume) -> None:
    """Within a file, between files, whichever is read first; a file that brings some of the ids leaves the others."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    state, end = tmp_path / "s", datetime(2025, 1, 4, tzinfo=UTC)
    csv(first, [*range(1, 10), *range(13, 20)])
    csv(first, range(25, 30), SECOND)
    csv(first, range(30, 40), datetime(2025, 1, 3, tzinfo=UTC))
    report = fill_all(first, settings, state, end)
    second_us = 86_400_000_000 + 6_000_000
    expected = {("10", "12"): ("open", 3, 3, 4_000_000), ("20", "24"): ("open", 5, 5, second_us)}
    assert gap_rows(settings, consume) == expected
    assert (report.gaps, report.gap_trades, report.gaps_healed) == (2, 8, 0)
    earlier = read_resume_point(
        settings, exchange("binance"), ["BTCUSDT"], time.time_ns() // 1_000, 10_000, threading.Event()
    )
    assert {(gap.from_id, gap.to_id) for gap in earlier.open["BTCUSDT"]} == {("10", "12"), ("20", "24")}, "for healing"

    csv(second, [*range(1, 12), *range(13, 25)])
    report = fill_all(second, settings, state, SECOND)
    assert (report.changed, report.skipped, report.gaps, report.gaps_healed, report.shrunk) == (1, 0, 0, 1, [])
    expected = {("10", "12"): ("open", 3, 1, 4_000_000), ("20", "24"): ("healed", 5, 0, second_us)}
    assert gap_rows(settings, consume) == expected

    csv(third, [*range(1, 10), *range(12, 25)])
    report = fill_all(third, settings, state, SECOND)
    assert (report.changed, report.gaps, report.gaps_healed) == (1, 0, 1)
    assert [words.rpartition("/")[2] for words in report.shrunk] == [
        "BTCUSDT-trades-2025-01-01.csv: 22 trades instead of 23"
    ]
    expected["10", "12"] = ("healed", 3, 0, 4_000_000)
    assert gap_rows(settings, consume) == expected


def test_a_hole_at_the_edge_of_a_part_of_a_day_is_a_row(settings: Settings, tmp_path: Path, consume: Consume) -> None:
    """The file has a trade on both sides, whichever parts of the day are asked for, and the day before has the last."""
    folder, minute = tmp_path / "files", timedelta(minutes=1)
    csv(folder, [*range(1, 50), *range(70, 110), *range(130, 200)], SECOND)
    wanted = days("binance", ["BTCUSDT"], SECOND, SECOND + minute)
    parts = [(SECOND + minute * number, SECOND + minute * (number + 1)) for number in range(4)]
    found = [fill(wanted, *part, settings, tmp_path / "s", source=str(folder)).gaps for part in parts]
    assert found == [1, 1, 0, 0], "none twice"
    assert set(gap_rows(settings, consume)) == {("50", "69"), ("110", "129")}


def test_a_gap_of_a_live_producer_is_closed_by_a_dump_also_where_it_was_given_up(
    settings: Settings, tmp_path: Path, consume: Consume
) -> None:
    span = (int(NEW_YEAR.timestamp() * 1e6), int(NEW_YEAR.timestamp() * 1e6) + 9)
    with KafkaPublisher(settings) as publisher:
        note = GapEvents(publisher, settings, "binance")
        for first, last, state in ((3, 5, UNFILLABLE), (8, 9, OPEN), (90, 95, OPEN)):
            note(Gap("BTCUSDT", str(first), str(last), *span, last - first + 1, 7, IdRanges(first, last), state))
    csv(tmp_path, range(1, 12))
    assert fill_all(tmp_path, settings, tmp_path / "s").gaps_healed == 2
    assert gap_rows(settings, consume) == {
        ("3", "5"): ("healed", 3, 0, 9),
        ("8", "9"): ("healed", 2, 0, 9),
        ("90", "95"): ("open", 6, 6, 9),
    }


def test_a_file_that_has_changed_is_read_again_and_another_warehouse_has_read_nothing(
    settings: Settings, tmp_path: Path, consume: Consume
) -> None:
    state = tmp_path / "s"
    start, end = (datetime(2026, 7, day, tzinfo=UTC) for day in (3, 4))
    wanted = days("binance_usdm", ["SOLUSDT"], start, end)
    for folder, counts in (("first", (0, 0)), ("first", (1, 0)), ("corrected", (0, 1)), ("corrected", (1, 0))):
        source = CASES / "dump-corrected-later" / folder
        report = fill(wanted, start, end, settings, state, source=str(source))
        assert ((report.skipped, report.changed), report.failures) == (counts, [])
    sides = [json.loads(message.value())["side"] for message in consume(settings.raw_topic("binance_usdm"))]
    assert Counter(sides)["BUY"] > 0
    with BackfillCheckpoint(state, "another") as steps:
        report = backfill(wanted, start, end, settings, steps, source=str(source))
    assert report.skipped == 0
    assert report.published > 0


def test_a_stack_that_is_made_anew_in_the_same_folder_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    names = []
    for _ in range(2):
        folder.mkdir()
        names.append(stack_id(folder))
        assert stack_id(folder) == names[-1]
        shutil.rmtree(folder)
    assert names[0] != names[1]


@pytest.mark.parametrize("content", ["", "id,price,qty,quote_qty,time,is_buyer_maker\n"])
def test_a_day_without_trades_is_done_only_where_the_venue_says_so(
    content: str, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "BTCUSDT-trades-2025-01-01.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-trades-2025-01-01.csv", content)
    for _ in range(2):
        (failure,) = fill_all(tmp_path, settings, tmp_path / "s").failures
        assert failure.startswith(f"{path}: {path.stem}.csv: has no trades")
    path.with_name(path.name + ".CHECKSUM").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    report = fill_all(tmp_path, settings, tmp_path / "s")
    assert (report.failures, report.empty, report.published) == ([], [str(path)], 0)
    assert fill_all(tmp_path, settings, tmp_path / "s").skipped == 1


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"PK\x03\x04 a zip without line ends", 1), (b'["no step"]\nmore', 1), (b'{"name": "x"}\nid,price', 2)],
)
def test_another_file_named_as_the_checkpoint_stays_as_it_is(content: bytes, line: int, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    with (
        pytest.raises(CheckpointError, match=rf"no checkpoint file of a back-fill \(line {line}\)"),
        BackfillCheckpoint(path, "w"),
    ):
        pass
    assert path.read_bytes() == content


def test_a_disk_that_takes_half_a_step_takes_none(tmp_path: Path) -> None:
    """The limit on a file's size works as a full disk does: the first write is a short one."""
    path, limits = tmp_path / "state", resource.getrlimit(resource.RLIMIT_FSIZE)
    with BackfillCheckpoint(path, "w") as steps:
        steps.put("dump a", {"done": True})
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                steps.put("dump b", {"done": True})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not steps.is_done("dump b")
        steps.put("dump c", {"done": True})
    with BackfillCheckpoint(path, "w") as steps:
        assert [*steps.steps] == ["dump a", "dump c"]


def test_the_last_line_that_was_cut_off_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "state"
    step = b'{"name": "dump x", "warehouse": "w", "done": true}\n'
    for cut in (1, 12, len(step) - 1):
        path.write_bytes(step + step[:cut])
        with BackfillCheckpoint(path, "w") as steps:
            assert steps.is_done("dump x")
        assert path.read_bytes() == step


def cli(*arguments: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")}
    asked = ["backfill", "--exchange", "binance", "--from", "2025-01-01", "--to", "2025-01-02", *map(str, arguments)]
    with contextlib.chdir(environment["XDG_STATE_HOME"]):
        return command.run(asked, clean | environment, 120)


def test_the_command_refuses_patterns_and_unknown_symbols_and_names_what_failed(
    settings: Settings, tmp_path: Path, consume: Consume
) -> None:
    environment = {
        "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "XDG_STATE_HOME": str(tmp_path),
        "COLUMNS": "400",
    }
    files = tmp_path / "files"
    csv(files, range(1, 6))
    csv(files, [1, 2], symbol="WHATUSDT")
    for pattern in ("BTCUSDT,[A-Z]*", "../BTCUSDT"):
        refused = cli("--symbols", pattern, "--source", files, environment=environment)
        assert refused.returncode == 2
        assert "is no symbol" in refused.stderr
        assert pattern.split(",")[-1] in refused.stderr
    for place in ("", str(files / "BTCUSDT-trades-2025-01-01.csv"), "/nowhere", "s3://bucket/dumps"):
        refused = cli("--symbols", "BTCUSDT", "--source", place, environment=environment)
        assert refused.returncode == 2
        assert "is no folder" in refused.stderr or "is no such address" in refused.stderr
    unknown = cli("--symbols", "BTCUSDT,WHATUSDT,btcusdt", "--source", files, environment=environment)
    assert unknown.returncode == 2
    assert "has no 'WHATUSDT' of binance" in unknown.stderr
    assert not list(tmp_path.rglob("*.jsonl"))

    mixed = cli(
        "--symbols", "BTCUSDT,WHATUSDT,ETHUSDT", "--force", "--source", files, "--json", environment=environment
    )
    assert mixed.returncode == 1
    report = json.loads(mixed.stdout)
    assert (report["parts"], report["rows"], report["published"], len(report["failures"])) == (3, 7, 7, 1)
    assert "1 of 3 files are not done" in mixed.stderr
    assert "ETHUSDT-trades-2025-01-01" in mixed.stderr
    assert "Traceback" not in mixed.stderr
    assert len(values(settings, consume)) == 7
    (checkpoint,) = tmp_path.rglob("backfill.jsonl")
    assert checkpoint.is_relative_to(tmp_path / "medallion")

    dry = cli("--symbols", "BTCUSDT,ETHUSDT", "--source", files, "--dry-run", "--json", environment=environment)
    planned = json.loads(dry.stdout)
    assert [one["what"] for one in planned["files"]] == ["done", "missing"]
    assert (planned["days"], planned["done"]) == (["binance/ETHUSDT/2025-01-01"], 1)
    csv(files, range(1, 8))
    dry = cli("--symbols", "BTCUSDT", "--source", files, "--dry-run", "--json", environment=environment)
    assert [one["what"] for one in json.loads(dry.stdout)["files"]] == ["changed"]
    another = environment | {"MEDALLION_CLICKHOUSE_DATABASE": "other"}
    dry = cli("--symbols", "BTCUSDT", "--source", files, "--dry-run", "--json", environment=another)
    assert [one["what"] for one in json.loads(dry.stdout)["files"]] == ["read"]
