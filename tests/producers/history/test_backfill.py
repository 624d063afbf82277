"""Invariants: a dump gives the very trades of the stream; an interrupted back-fill goes on where it was."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Message
from typer.testing import CliRunner

from cli.messages.backfill import backfill as command
from config.settings import Settings
from producers.backfill.checkpoint import BackfillCheckpoint
from producers.backfill.dumps import Day
from producers.backfill.from_dumps import backfill, days, plan
from producers.backfill.report import DumpReport

ROOT = Path(__file__).resolve().parents[3]
MIDNIGHT_MS = int(datetime(2024, 8, 9, tzinfo=UTC).timestamp() * 1e3)
START, END = datetime(2024, 8, 8, tzinfo=UTC), datetime(2024, 8, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def trades() -> pl.DataFrame:
    """The trades of the Binance spot recording, which crosses midnight, as columns."""
    with gzip.open(ROOT / "tests" / "recordings" / "binance_spot_trades.jsonl.gz") as file:
        rows = [json.loads(line)["data"] for line in file]
    return pl.DataFrame(rows).select("s", "t", "p", "q", "T", "m")


def write_dumps(trades: pl.DataFrame, folder: Path, *, micros: bool = False) -> None:
    """Binance's tree: one zip a symbol and day."""
    for row in (
        trades.with_columns(day=pl.from_epoch("T", time_unit="ms").dt.date(), quote=pl.lit("1.0"))
        .with_columns(T=pl.col("T") * (1_000 if micros else 1), m=pl.col("m").cast(pl.String).str.to_titlecase())
        .partition_by("s", "day")
    ):
        symbol, day = row["s"][0], row["day"][0]
        text = row.select("t", "p", "q", "quote", "T", "m", best=pl.lit("True")).write_csv(include_header=False)
        name = f"{symbol}-trades-{day}"
        path = folder / "data/spot/daily/trades" / symbol / f"{name}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", text)


def fill(
    wanted: list[Day], start: datetime, end: datetime, settings: Settings, checkpoint: Path, **more: Any
) -> DumpReport:
    with BackfillCheckpoint(checkpoint, "w") as steps:
        return backfill(wanted, start, end, settings, steps, **more)


def published(settings: Settings, consume: Callable[[str], list[Message]]) -> list[tuple[str, ...]]:
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("binance"))]
    return sorted(
        (v["symbol"], v["trade_id"], v["price"], v["quantity"], v["timestamp"], v["side"]) for v in values
    )  # fmt: skip


def expected(trades: pl.DataFrame, factor: int = 1) -> list[tuple[str, ...]]:
    sides = {True: "SELL", False: "BUY"}
    return sorted((s, str(t), p, q, str(T * factor), sides[m]) for s, t, p, q, T, m in trades.iter_rows())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The folder `tmp_path` over HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def walks_of(walked: list[Path]) -> Callable[[Path, str], Iterator[Path]]:
    """`Path.rglob`, which notes the folders it walks."""
    rglob = Path.rglob

    def noting(folder: Path, pattern: str) -> Iterator[Path]:
        walked.append(folder)
        return iter([*rglob(folder, pattern)])

    return noting


@pytest.mark.parametrize("micros", [False, True])
def test_a_folder_gives_every_trade_of_the_stream(
    micros: bool,
    trades: pl.DataFrame,
    tmp_path: Path,
    settings: Settings,
    consume: Callable[[str], list[Message]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It walks the tree once, however many days and symbols are asked for, and once to show the plan."""
    write_dumps(trades, tmp_path, micros=micros)
    walked: list[Path] = []
    monkeypatch.setattr(Path, "rglob", walks_of(walked))
    wanted = days("binance", ["BTCUSDT", "ETHUSDT"], START, END)
    assert len(wanted) == 4
    report = fill(wanted, START, END, settings, tmp_path / "state", source=str(tmp_path))
    assert (report.parts, report.done, report.skipped, report.published) == (4, 4, 0, len(trades))
    assert walked == [tmp_path]
    assert published(settings, consume) == expected(trades, 1_000 if micros else 1)
    with BackfillCheckpoint(tmp_path / "state", "w") as steps:
        assert {day.what for day in plan(wanted, START, END, steps, str(tmp_path))} == {"done"}
    assert walked == [tmp_path] * 2


def test_a_url_within_the_time_asked_for(
    trades: pl.DataFrame, tmp_path: Path, server: str, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    write_dumps(trades, tmp_path)
    start, end = datetime(2024, 8, 8, 23, 56, tzinfo=UTC), datetime(2024, 8, 8, 23, 58, tzinfo=UTC)
    fill(days("binance", ["BTCUSDT"], start, end), start, end, settings, tmp_path / "s", source=server)
    inside = trades.filter(
        (pl.col("s") == "BTCUSDT") & pl.col("T").is_between(start.timestamp() * 1e3, end.timestamp() * 1e3, "left")
    )
    assert len(inside) > 100
    assert published(settings, consume) == expected(inside)


def test_ctrl_c_says_which_days_are_done(
    trades: pl.DataFrame, tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    """The second file never ends."""
    write_dumps(trades, tmp_path)
    asked, ended = threading.Event(), threading.Event()

    class Endless(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            if "ETHUSDT-trades-2024-08-08.zip" not in self.path or self.path.endswith(".CHECKSUM"):
                super().do_GET()
                return
            self.send_response(200)
            self.end_headers()
            asked.set()
            with contextlib.suppress(ConnectionError):
                while not ended.is_set():
                    self.wfile.write(bytes(65_536))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        source = f"http://127.0.0.1:{serving.server_port}"
        window = ("--symbols", "BTCUSDT,ETHUSDT", "--from", "2024-08-08", "--to", "2024-08-09")
        asked_for = ("--exchange", "binance", *window, "--source", source, "--state", str(tmp_path / "state"))
        run = subprocess.Popen(
            [sys.executable, "-m", "cli", "backfill", *asked_for, "--workers", "1"],
            env={**os.environ, "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asked.wait(120)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=120)
        ended.set()
        serving.shutdown()
        thread.join()
    first = trades.filter((pl.col("s") == "BTCUSDT") & (pl.col("T") < MIDNIGHT_MS))
    assert run.returncode == 130
    assert said.endswith(
        f"Stopped by Ctrl-C. Done: 1 of 2 days, {len(first):,} trades published. Left: 1 of 2 days."
        " Run the same command again: what is done is not read again.\n"
    )
    assert published(settings, consume) == expected(first)


def test_days_that_are_done_are_skipped_and_a_broken_one_is_named(
    trades: pl.DataFrame, tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    write_dumps(trades, tmp_path)
    broken = next(tmp_path.rglob("ETHUSDT-trades-2024-08-08.zip"))
    whole = broken.read_bytes()
    broken.write_bytes(b"PK nothing")
    wanted = days("binance", ["BTCUSDT", "ETHUSDT"], START, END)
    path = tmp_path / "state"
    report = fill(wanted, START, END, settings, path, source=str(tmp_path), workers=1)
    (failure,) = report.failures
    assert failure.startswith(f"{broken}: ")
    assert "no zip file" in failure
    assert report.done == 3
    assert report.published == len(trades.filter((pl.col("s") != "ETHUSDT") | (pl.col("T") >= MIDNIGHT_MS)))
    broken.write_bytes(whole)
    report = fill(wanted, START, END, settings, path, source=str(tmp_path))
    assert (report.done, report.skipped, report.failures) == (4, 3, [])
    assert published(settings, consume) == expected(trades)
    twin = broken.with_suffix(".csv")
    twin.write_bytes(zipfile.ZipFile(broken).read(twin.name))
    report = fill(wanted, START, END, settings, path, source=str(tmp_path))
    assert (report.skipped, report.ignored) == (4, [f"{twin}: has the same lines as {broken}"])


def test_futures_have_a_header_and_a_file_of_another_market_is_not_taken(
    tmp_path: Path, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    header = "id,price,qty,quote_qty,time,is_buyer_maker\n"
    for market, price in (("spot", "1.0"), ("futures/um", "2.0")):
        path = tmp_path / "data" / market / "X-trades-2024-08-08.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"{header}7,{price},3,6,{int(START.timestamp() * 1e3)},true\n")
    fill(days("binance_usdm", ["X"], START, START.replace(hour=1)), START, END, settings, tmp_path / "s",
         source=str(tmp_path))  # fmt: skip
    (message,) = consume(settings.raw_topic("binance_usdm"))
    value = json.loads(message.value())
    assert (value["price"], value["side"]) == ("2.0", "SELL")
    assert json.loads(value["payload"]).split(",")[1] == "2.0"


def test_the_command(trades: pl.DataFrame, tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    write_dumps(trades, tmp_path)
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", broker)
    application = typer.Typer()
    application.command()(command)
    arguments = ["--exchange", "binance", "--symbols", "BTCUSDT", "--from", "2024-08-08", "--to", "2024-08-10",
                 "--source", str(tmp_path), "--state", str(tmp_path / "state"), "--json"]  # fmt: skip
    dry = CliRunner().invoke(application, [*arguments, "--dry-run"])
    assert json.loads(dry.stdout)["days"] == ["binance/BTCUSDT/2024-08-08", "binance/BTCUSDT/2024-08-09"], dry.output
    done = CliRunner().invoke(application, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["published"] == len(trades.filter(pl.col("s") == "BTCUSDT"))
    arguments[arguments.index("binance")] = "kraken"
    refused = CliRunner().invoke(application, arguments)
    assert refused.exit_code == 2
    assert "no dumps" in refused.output


def test_a_url_is_asked_for_its_checksum_only_where_the_day_is_done(
    server: str, settings: Settings, tmp_path: Path
) -> None:
    start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)
    wanted = days("binance", ["BTCUSDT"], start, end)

    def run() -> DumpReport:
        return fill(wanted, start, end, settings, tmp_path / "s", source=server)

    path = tmp_path / "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2025-01-01.zip"
    path.parent.mkdir(parents=True)
    lines = (f"{number},1,1,1,{1_735_689_600_000 + number},True,True\n" for number in range(8))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-trades-2025-01-01.csv", "".join(lines))
    checksum = path.with_name(path.name + ".CHECKSUM")
    checksum.write_text(f"{'0' * 64}  {path.name}\n")
    (failure,) = run().failures
    assert "SHA-256" in failure
    checksum.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert run().published == 8
    path.unlink()
    assert run().skipped == 1
    checksum.unlink()
    (failure,) = run().failures
    assert "404" in failure
