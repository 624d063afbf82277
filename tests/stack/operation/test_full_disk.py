"""Invariant: a full disk is named by status and by every command that meets it; with space again nothing is lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.conftest import Medallion

TRADES = 4_000
SIZE = 64 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def write_trades(path: Path, numbers: range) -> None:
    start_ms = 1_795_845_600_000
    with path.open("w", encoding="ascii") as file:
        for number in numbers:
            file.write(
                f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{start_ms + number},"s":"BTCUSDT",'
                f'"t":{number + 1},"p":"63000.{number % 100:02d}","q":"0.01","T":{start_ms + number},"m":true}}}}\n'
            )


def fill(path: Path) -> None:
    """Write until there is no space left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            return


# What names it is in tests/config/test_disks.py; that a refused block waits and is tried again, in
# tests/kafka_engine/test_tables.py.
@pytest.mark.nightly
def test_a_full_disk_is_named_and_nothing_is_lost(small_disk: Path, tmp_path: Path, medallion: Medallion) -> None:
    folder, ballast = small_disk / "stack", small_disk / "ballast"
    at = ("--data-dir", folder)
    medallion("up", *at, "--detach")
    try:
        first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
        write_trades(first, range(TRADES // 2))
        write_trades(second, range(TRADES // 2, TRADES))
        medallion("replay", first, "--exchange", "binance", *at)
        medallion("drain", *at, "--timeout", "120")
        fill(ballast)

        # The broker keeps what ClickHouse cannot write.
        medallion("replay", second, "--exchange", "binance", *at)
        shown = medallion("status", *at, check=False)
        assert shown.returncode == 1
        assert f"the disk of {folder} (data folder, warehouse) has 0 of 64 MiB left: full" in " ".join(
            shown.stdout.split()
        )
        status = json.loads(medallion("status", *at, "--json", check=False).stdout)
        assert status["state"] == "degraded"
        assert "full" in status["troubles"]["data folder, warehouse"]
        assert status["disks"][0]["level"] == "full"

        failed = medallion("offload", "run", "--until-now", *at, check=False)
        assert failed.returncode == 1
        assert "Traceback" not in failed.stderr
        said = " ".join(failed.stderr.split())
        assert f"No space left on a disk: the disk of {folder}" in said
        assert "Free space there or enlarge it, then run the same command again" in said

        ballast.unlink()
        medallion("drain", *at, "--timeout", "120")
        assert json.loads(medallion("status", *at, "--json").stdout)["state"] == "healthy"
        medallion("offload", "run", "--until-now", *at)
        count = "SELECT (SELECT uniqExact(trade_id) FROM silver_trades), count() FROM silver_trades_all"
        assert medallion("query", count, "--format", "TSV", *at).stdout.split() == [str(TRADES), str(TRADES)]
    finally:
        ballast.unlink(missing_ok=True)
        medallion("down", *at, "--timeout", "0", check=False)
