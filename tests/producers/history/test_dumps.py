"""Invariants: a dump is read whole and right, or refused before its first trade with an error that names the file."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.backfill import dump_files, dumps
from producers.backfill.dumps import Day, DumpContents, DumpError
from producers.gaps.id_ranges import TimedRanges, without
from producers.kafka.envelope import Envelope

DAY = Day("binance", "BTCUSDT", date(2025, 1, 1))
START_US = DAY.span_us[0]
HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"
# Says how much memory (KiB) it took at most, how many messages it made, and the error.
# `ru_maxrss` would begin with that of the parent before `exec`.
CHILD = """
import sys
from datetime import date
from producers.backfill.dump_files import source_of
from producers.backfill.dumps import Day, DumpError, inspect, messages, opened
day = Day("binance", "BTCUSDT", date(2025, 1, 1))
made, error = 0, ""
try:
    with opened(day, source_of(sys.argv[1])) as stored:
        trades = inspect(day, stored, day.span_us).trades
        made = sum(1 for _ in messages(day, stored, day.span_us))
        assert made == trades, (made, trades)
except DumpError as refused:
    error = str(refused)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
print(made)
print(error)
"""


def row(number: int, **more: str) -> str:
    values = {"price": f"94000.{number % 100:02}", "time": str(START_US + number * 1_000), "maker": "True"} | more
    return f"{number},{values['price']},0.5,47000,{values['time']},{values['maker']},True"


ROWS = [row(number) for number in range(1, 41)]
TEXT = "".join(f"{line}\n" for line in ROWS)


def zipped(*entries: tuple[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def put(folder: Path, suffix: str, content: bytes | str) -> Path:
    path = folder / f"{DAY.stem}{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path) -> tuple[DumpContents, list[Envelope]]:
    with dumps.opened(DAY, dump_files.source_of(str(folder))) as stored:
        return dumps.inspect(DAY, stored, DAY.span_us), [*dumps.messages(DAY, stored, DAY.span_us)]


def ids(messages: list[Envelope]) -> list[int]:
    return [int(message.trade_id) for message in messages if message.trade_id]


def prices(messages: list[Envelope]) -> list[tuple[str, str, str, str]]:
    return [(one.trade_id, one.price, one.timestamp, one.side) for one in messages]


EXPECTED = [
    (columns[0], columns[1], columns[4], {"True": "SELL", "False": "BUY"}[columns[5]])
    for columns in (line.split(",") for line in ROWS)
]


@given(
    kind=st.sampled_from([".csv.gz", ".zip", "stored.zip", "parts.zip"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=2),
    kept=st.none() | st.floats(0, 1),
)
@example(".zip", [], 0.0)
@example(".csv.gz", [], 0.0)
@settings(max_examples=settings().max_examples * 15)
def test_any_damage_is_found_or_harms_nothing(kind: str, flips: list[tuple[float, int]], kept: float | None) -> None:
    half = TEXT.index("21,")
    content = {
        ".csv.gz": lambda: gzip.compress(TEXT.encode(), mtime=0),
        ".zip": lambda: zipped((f"{DAY.stem}.csv", HEADER + TEXT)),
        "stored.zip": lambda: zipped((f"{DAY.stem}.csv", TEXT), method=zipfile.ZIP_STORED),
        "parts.zip": lambda: zipped(
            ("d/", ""), ("d/parts-one-of-it.1", TEXT[:half]), ("parts-number-two.2", TEXT[half:])
        ),
    }[kind]()
    damaged = bytearray(content)
    for place, bit in flips:
        damaged[int(place * len(damaged))] ^= 1 << bit
    if kept is not None:
        del damaged[int(kept * len(damaged)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), ".zip" if kind.endswith(".zip") else kind, bytes(damaged))
        try:
            _, messages = read(Path(folder))
        except DumpError as error:
            said = str(error)
        else:
            assert prices(messages) == EXPECTED
            return
    assert str(path) in said
    assert re.search(r"fetch it again|take it out", said)
    assert bytes(damaged) != content


@pytest.mark.parametrize("shift", range(60))
def test_an_entry_that_another_ones_comment_hides_is_missed(shift: int, tmp_path: Path) -> None:
    """A directory that lists fewer entries than its end says, whatever swallowed them."""
    names = ("a.csv", "b" * shift + ".csv")
    half = TEXT.index("21,")
    content = bytearray(zipped((names[0], TEXT[:half]), (names[1], TEXT[half:])))
    directory = content.index(b"PK\x01\x02")
    length = 46 + len(names[1])
    content[directory + 32 : directory + 34] = length.to_bytes(2, "little")
    put(tmp_path, ".zip", bytes(content))
    with pytest.raises(DumpError, match="1 of its 2 entries"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("byte order mark", "\ufeff" + TEXT),
        ("byte order mark and header", "\ufeff" + HEADER + TEXT),
        ("joined files", "".join("\ufeff\ufeff" + HEADER + line + "\n" for line in ROWS)),
        ("CR LF", TEXT.replace("\n", "\r\n")),
        ("LF CR", TEXT.replace("\n", "\n\r")),
        ("leading and trailing spaces", "".join(f"  {line} \n" for line in ROWS)),
        ("spaces about the commas", TEXT.replace(",", " , ")),
        ("tabs at the ends", "".join(f"\t{line}\t\n" for line in ROWS)),
        ("quotes", "".join('"' + line.replace(",", '","') + '"\n' for line in ROWS)),
        ("blank lines", "\n\n" + TEXT.replace("\n", "\n \n")),
        (
            "header in the middle",
            "".join(f"{line}\n{HEADER if number == 20 else ''}" for number, line in enumerate(ROWS)),
        ),
        ("header in capitals", HEADER.upper() + TEXT),
        ("no last line end", TEXT.rstrip("\n")),
    ],
)
def test_odd_spellings_lose_no_trade(name: str, text: str, tmp_path: Path) -> None:
    del name
    put(tmp_path, ".csv", text)
    contents, messages = read(tmp_path)
    assert (contents.rows, contents.dead, contents.repeated) == (40, 0, 0)
    assert prices(messages) == EXPECTED


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (TEXT.encode("utf-16"), "UTF-16"),
        (TEXT.encode("utf-16-le"), "UTF-16"),
        (TEXT.replace(",", ";").encode(), "semicolons"),
        (TEXT.replace(",", "\t").encode(), "tabs"),
        (TEXT.replace("\n", "\r").encode(), "end with CR alone"),
        (TEXT[:-20].encode(), "line, 40, is cut off"),
        (TEXT[:-2].encode(), "line, 40, is cut off"),
        (TEXT[: -len("True\n")].encode(), "line, 40, is cut off"),
        (TEXT[: -len(",True\n")].encode(), "line, 40, is cut off"),
        (b"time,id,price,qty,quote_qty,is_buyer_maker\n" + TEXT.encode(), "its columns are time, id"),
        (b"<html>no such key</html>\n", "no row of it is a trade"),
        (b"x" * 5_000 + b"\n" + TEXT.encode(), "longer than"),
        (
            f"{row(1, time=str(START_US - 1))}\n{row(2, time=str(START_US - 2))}\n".encode(),
            "no row of it is of 2025-01-01",
        ),
    ],
)
def test_what_is_no_list_of_the_days_trades_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    path = put(tmp_path, ".csv", content)
    with pytest.raises(DumpError, match=why) as refused:
        read(tmp_path)
    assert str(path) in str(refused.value)


def test_a_row_that_is_no_trade_says_where_it_stands(tmp_path: Path) -> None:
    odd = ["2,94000,0.5,47000", row(3, maker="perhaps"), row(4, time="noon"), "x,1,1,1,1,True,True", "\x00", "é,,,,,,"]
    odd += [row(number, time=str(START_US)) for number in (2**64, 10**20 - 1)]
    # By the text of their ids, Silver would count the trades 7 and 9 a second time.
    odd += [f"00{row(7)}", f"0{row(9)}"]
    path = put(tmp_path, ".csv", "\n".join([row(1), *odd, row(9)]) + "\n")
    contents, messages = read(tmp_path)
    assert (contents.rows, contents.dead) == (12, 10)
    assert ids(messages) == [1, 9]
    assert [(run.first, run.last) for run in contents.runs] == [(1, 1), (9, 9)], "they show no gap"
    dead = [json.loads(message.payload) for message in messages if not message.trade_id]
    assert [(one["dump"], one["line"]) for one in dead] == [(str(path), line) for line in range(2, 12)]
    assert [one["row"] for one in dead[:5]] == odd[:5]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([(f"{DAY.stem}/", ""), (f"{DAY.stem}/{DAY.stem}.csv", TEXT)], 40),
        ([(f"__MACOSX/._{DAY.stem}.csv", "\0\5\x16\7"), (f"{DAY.stem}.csv", TEXT)], 40),
        ([(f"{DAY.stem}.csv", TEXT), (".DS_Store", b"\0"), ("a/b/c/", "")], 40),
        ([("a/b/c/d/x.csv", HEADER + ROWS[0] + "\n"), ("y.csv", HEADER + ROWS[1] + "\n")], 2),
        ([("../../../../etc/cron.d/x.csv", TEXT)], 40),
        ([("/etc/passwd", TEXT)], 40),
        ([("BTCUSDT-trades.csv", TEXT)], 40),
    ],
)
def test_every_entry_of_a_zip_is_read(entries: list[tuple[str, str]], expected: int, tmp_path: Path) -> None:
    """Names that lead out of the folder are names: nothing is unpacked onto the disk."""
    path = put(tmp_path, ".zip", zipped(*entries))
    _, messages = read(tmp_path)
    assert len(messages) == expected
    assert [*tmp_path.iterdir()] == [path]


def test_a_zip_that_was_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    """Its entries say how long they are behind their data."""
    packed = io.BytesIO()
    packed.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", ROWS[0] + "\n")
        archive.writestr("b.csv", ROWS[1] + "\n")
    put(tmp_path, ".zip", packed.getvalue())
    _, messages = read(tmp_path)
    assert len(messages) == 2


def unlisted(content: bytes) -> bytes:
    """A zip whose directory knows where it begins, after something that it does not list."""
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(f"{DAY.stem}.csv", TEXT)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (zipped((f"{DAY.stem}.csv", TEXT), ("ETHUSDT-trades-2025-01-01.csv", TEXT)), "ETHUSDT-trades-2025-01-01.csv"),
        (zipped(("BTCUSDT-trades-2025-01-02.csv", TEXT)), "not of BTCUSDT-trades-2025-01-01"),
        (zipped(("ETHUSDT-trades-2025-01-01 (1).txt", TEXT)), "not of BTCUSDT-trades-2025-01-01"),
        (zipped(("ETHUSDT-trades.csv", TEXT)), "not of BTCUSDT-trades-2025-01-01"),
        (zipped(("BTCUSDT-aggTrades.csv", TEXT)), "not of BTCUSDT-trades-2025-01-01"),
        (zipped((f"{DAY.stem}.csv", TEXT), ("rest.csv", "")), "rest.csv: has no trades"),
        (zipped((f"{DAY.stem}.csv", TEXT), ("rest.csv", HEADER)), "rest.csv: has no trades"),
        (zipped((f"{DAY.stem}.csv", TEXT), ("rest/", ROWS[0])), "'rest/' is a folder with content"),
        (zipped((f"{DAY.stem}.csv", TEXT), ("LICENCE", "All rights\n")), "LICENCE: no row of it is a trade"),
        (zipped((f"{DAY.stem}.csv", TEXT), method=zipfile.ZIP_BZIP2), "packed by method 12"),
        (zipped(*((f"{number}.csv", ROWS[0] + "\n") for number in range(1_001))), "more than 1,000 entries"),
        (zipped((f"{DAY.stem}.csv", TEXT)) + zipped((f"{DAY.stem}.csv", HEADER)), "in front of it are of no entry"),
        (b"#!/bin/sh\n" + zipped((f"{DAY.stem}.csv", TEXT)), "10 bytes in front of it are of no entry"),
        (unlisted(TEXT.encode()), "in it are of no listed entry"),
        (zipped((f"{DAY.stem}.csv", TEXT)) + b"\n", "its end is not where it says"),
        (b"PK\x03\x04 nothing", "no zip file"),
        (TEXT.encode(), "no zip file"),
    ],
)
def test_a_zip_that_is_another_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    path = put(tmp_path, ".zip", content)
    with pytest.raises(DumpError, match=re.escape(why)) as refused:
        read(tmp_path)
    assert str(path) in str(refused.value)


def test_the_checksum_file_beside_it_is_believed(tmp_path: Path) -> None:
    path = put(tmp_path, ".zip", zipped((f"{DAY.stem}.csv", TEXT)))
    beside = path.with_name(path.name + ".CHECKSUM")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(f"{digest}  {path.name}\n")
    assert len(read(tmp_path)[1]) == 40
    beside.write_text(f"{digest[::-1]}  {path.name}\n")
    with pytest.raises(DumpError, match=r"SHA-256 is .* the \.CHECKSUM file beside it says"):
        read(tmp_path)
    beside.write_text("404\n")
    with pytest.raises(DumpError, match=r"CHECKSUM: begins with no SHA-256"):
        read(tmp_path)
    # The file and its checksum file were both renamed.
    for name in ("ETHUSDT-trades-2025-01-01.zip", "*./BTCUSDT-trades-2025-01-02.zip"):
        beside.write_text(f"{digest}  {name}\n")
        with pytest.raises(DumpError, match=r"CHECKSUM: is about '(ETH|BTC)USDT-trades-2025-01-0[12]\.zip'"):
            read(tmp_path)
    for name in (f"*{path.name}", f"/var/dumps/{path.name}", ""):
        beside.write_text(f"{digest} {name}\n")
        assert len(read(tmp_path)[1]) == 40
    # Some tools write the names of what they fetch in small letters.
    small = beside.rename(path.with_name(path.name + ".checksum"))
    assert len(read(tmp_path)[1]) == 40
    small.write_text(f"{digest[::-1]}  {path.name}\n")
    beside.write_text(f"{digest}  {path.name}\n")
    with pytest.raises(DumpError, match=r"the \.CHECKSUM file beside it says"):
        read(tmp_path)


def test_two_files_of_a_day_are_the_same_or_refused(tmp_path: Path) -> None:
    """Whoever unpacked the files has each day twice."""
    path = put(tmp_path, ".zip", zipped((f"{DAY.stem}.csv", TEXT)))
    (tmp_path / "unpacked").mkdir()
    twin = put(tmp_path / "unpacked", ".csv", TEXT.replace("\n", "\r\n"))
    source = dump_files.source_of(str(tmp_path))
    with dumps.opened(DAY, source) as stored:
        assert (stored.name, stored.ignored) == (str(path), (f"{twin}: has the same lines as {path}",))
        assert prices([*dumps.messages(DAY, stored, DAY.span_us)]) == EXPECTED
    for text, line in ((TEXT.replace("94000.07", "94000.08"), 7), (TEXT + row(41) + "\n", 41), (TEXT[:-20], 40)):
        twin.write_text(text)
        with pytest.raises(DumpError, match="are of the same day and differ") as refused:
            read(tmp_path)
        assert str(path) in str(refused.value)
        assert f"{twin} are of" in str(refused.value)
        assert f"line {line:,} is" in str(refused.value)
    # One that lies in no market's folder may be of another market: the one in the market's own folder is read.
    own = tmp_path / "spot/daily/trades/BTCUSDT"
    own.mkdir(parents=True)
    path = path.rename(own / path.name)
    with dumps.opened(DAY, dump_files.source_of(str(tmp_path))) as stored:
        (words,) = stored.ignored
        assert stored.name == str(path)
        assert words.startswith(f"{twin}: ")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder goes away while it is searched, as below /proc."""

    def gone(_folder: Path, _pattern: str) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/31594")

    monkeypatch.setattr(Path, "rglob", gone)
    with pytest.raises(DumpError, match="/proc/31594: cannot be listed: No such file"):
        read(tmp_path)


def test_only_regular_files_of_one_name_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / f"{DAY.stem}.csv").symlink_to("/dev/zero")
    with pytest.raises(DumpError, match="no regular file"):
        read(tmp_path)
    put(tmp_path / "a", ".csv", TEXT)
    with pytest.raises(DumpError, match="2 files are called so"):
        read(tmp_path)


def test_a_file_of_another_market_is_never_read(tmp_path: Path) -> None:
    """Spot and futures call a day's file alike. The own file may be packed in another way, or be missing."""
    of_futures, of_spot = (tmp_path / "a" / market / "daily/trades/BTCUSDT" for market in ("futures/um", "spot"))
    for folder in (of_futures, of_spot):
        folder.mkdir(parents=True)
    put(of_futures, ".zip", zipped((f"{DAY.stem}.csv", HEADER)))
    own = put(of_spot, ".csv", TEXT)
    assert prices(read(tmp_path)[1]) == EXPECTED
    assert dump_files.exists(DAY.stem, "spot", dump_files.DumpFolder(str(tmp_path)))
    own.unlink()
    for source in (tmp_path, of_futures):
        assert not dump_files.exists(DAY.stem, "spot", dump_files.DumpFolder(str(source)))
        with pytest.raises(DumpError, match=r"lies in a folder of futures/um; if it is of spot"):
            read(source)
    # A folder that is no market's tells nothing, whatever its name has in it.
    (tmp_path / "hotspot").mkdir()
    put(tmp_path / "hotspot", ".csv", TEXT)
    assert dump_files.exists(DAY.stem, "futures/um", dump_files.DumpFolder(str(tmp_path / "hotspot")))


def endless() -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([packer.compress(b"1" * (1 << 20)) for _ in range(200)] + [packer.flush()])


def many_rows() -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = (ROWS[0] + "\n").encode() * 20_000
    return b"".join([packer.compress(block) for _ in range(40)] + [packer.flush()])


def zip_bomb() -> bytes:
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("__MACOSX/._x", "w") as entry,
    ):
        for _ in range(200):
            entry.write(b"\0" * (1 << 20))
    return packed.getvalue()


def many_entries() -> bytes:
    """As if 65,535 files were in it: the directory is a hundred kilobytes for each thousand."""
    return zipped(*((f"{number:0>200}.csv", "") for number in range(20_000)))


@pytest.mark.parametrize(
    ("suffix", "make", "why"),
    [
        (".csv.gz", endless, "a line is longer than"),
        (".csv.gz", many_rows, "unpacks to more than"),
        (".zip", zip_bomb, "unpacks to more than"),
        (".zip", many_entries, "more than 1,000 entries"),
    ],
)
def test_hostile_files_are_refused_and_take_no_memory(
    suffix: str, make: Callable[[], bytes], why: str, tmp_path: Path
) -> None:
    """A hundred megabytes and more in a few hundred kilobytes."""
    path = put(tmp_path, suffix, make())
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True)
    peak_kib, _, error = child.stdout.splitlines()
    assert why in error
    assert str(path) in error
    assert int(peak_kib) < 120_000


def long_rows() -> pl.DataFrame:
    """Few trades, each with a price of thousands of digits."""
    numbers = pl.int_range(26_000, eager=True)
    return trade_rows(numbers, "1" * 3_900 + "." + numbers.cast(pl.String))


def busy_day() -> pl.DataFrame:
    """As many trades as a big market has, whose digits hardly repeat."""
    numbers = pl.int_range(4_500_000, eager=True)
    return trade_rows(numbers, "9" + (numbers.hash(seed=1) % 10_000).cast(pl.String) + ".01000000")


def trade_rows(numbers: pl.Series, prices: pl.Series) -> pl.DataFrame:
    noise = numbers.hash(seed=2)
    return pl.DataFrame(
        {
            "id": numbers + 1,
            "price": prices,
            "qty": "0." + (noise % 100_000_000).cast(pl.String),
            "quote_qty": (noise // 7 % 10_000_000_000).cast(pl.String) + ".5",
            "time": START_US + numbers * 19_000 + noise.cast(pl.Int64, strict=False).fill_null(0) % 19_000,
            "is_buyer_maker": pl.Series(noise % 2 == 0).cast(pl.String).str.to_titlecase(),
            "is_best_match": pl.repeat("True", numbers.len(), eager=True),
        }
    )


@pytest.mark.parametrize(
    ("make", "method"),
    [(long_rows, zipfile.ZIP_STORED), pytest.param(busy_day, zipfile.ZIP_DEFLATED, marks=pytest.mark.nightly)],
)
def test_a_large_file_is_read_within_the_memory_of_a_container(
    make: Callable[[], pl.DataFrame], method: int, tmp_path: Path
) -> None:
    """A hundred megabytes as they lie on the disk. The smallest container of ours has 144 MiB."""
    rows = make()
    path = tmp_path / f"{DAY.stem}.zip"
    with (
        zipfile.ZipFile(path, "w", method, compresslevel=1) as archive,
        archive.open(f"{DAY.stem}.csv", "w", force_zip64=False) as entry,
    ):
        for piece in rows.iter_slices(100_000):
            entry.write(piece.write_csv(include_header=False).encode())
    assert path.stat().st_size > 100_000_000
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True)
    peak_kib, made, error = child.stdout.split("\n")[:3]
    assert error == ""
    assert int(made) == rows.height
    assert int(peak_kib) < 120_000


@given(st.lists(st.integers(1, 60), max_size=80))
def test_runs_are_the_set_of_ids_whatever_their_order(numbers: list[int]) -> None:
    runs, seen = TimedRanges(), set()
    for number in numbers:
        assert runs.add(number, number * 10) == (number not in seen)
        seen.add(number)
    listed = [*runs]
    assert [n for run in listed for n in range(run.first, run.last + 1)] == sorted(seen)
    assert all(run.first_us == run.first * 10 and run.last_us == run.last * 10 for run in listed)
    assert all(later.first > before.last + 1 for before, later in pairwise(listed))


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_what_is_left_of_runs_is_the_difference_of_sets(wanted: set[int], taken: set[int]) -> None:
    def runs(numbers: set[int]) -> list[tuple[int, int]]:
        made = TimedRanges()
        for number in numbers:
            made.add(number, 0)
        return [(run.first, run.last) for run in made]

    assert without(runs(wanted), runs(taken)) == runs(wanted - taken)


def test_a_name_with_a_pattern_in_it_finds_no_other_file(tmp_path: Path) -> None:
    put(tmp_path, ".csv", TEXT)
    day = Day("binance", "BTC*", DAY.date)
    with (
        pytest.raises(DumpError, match=r"no BTC\*-trades-2025-01-01"),
        dumps.opened(day, dump_files.source_of(str(tmp_path))),
    ):
        pass
    assert not dump_files.exists(day.stem, "spot", dump_files.DumpFolder(str(tmp_path)))
