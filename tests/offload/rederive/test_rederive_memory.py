"""The memory of a re-derivation does not grow with the number of rows (600 MiB at any size)."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.run import run
from offload.tables.cold_tables import BY_NAME
from tests.clickhouse import as_json
from tests.offload.cold_tables import read
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, read_tape
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, TO, fill, limited, within

ROOT = Path(__file__).resolve().parents[3]
LIMIT_MIB = 600
# Three times the rows may take so much more: what allocators keep.
SLACK_MIB = 48
# No trade of BTCUSDT is as small.
NONE = Decimal("0.000000001")


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Settings:
    return new_settings(http_port, tmp_path)


def peak_mib(settings: Settings, *options: str) -> float:
    command = [sys.executable, "-m", "tests.offload.rederive.rederive_memory", as_json(settings)]
    done = subprocess.run(
        [*command, FROM.isoformat(), TO.isoformat(), *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def copies(trades: pl.DataFrame, start: int, number: int) -> pl.DataFrame:
    """The trades so many times, each time under other ids and coordinates."""
    return pl.concat(
        trades.with_columns(
            pl.format("{}7{}", "trade_id", pl.lit(f"{copy:03d}")).alias("trade_id"),
            pl.col("offset") + copy * 1_000_000,
        )
        for copy in range(start, start + number)
    )


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc, which only Linux has")
def test_three_times_the_rows_take_the_same_memory(
    settings: Settings, hot: HotTables, tape: Path, tmp_path: Path
) -> None:
    """All rows are weighed, and some come: those that a limit kept out. Then a dry run takes out all of a market."""
    trades = read_tape(tape)
    found = []
    # With fewer rows the pieces of a day are not full yet, and their number is not that of a large day.
    sizes = (18, 36)
    for start, number in ((0, sizes[0]), (sizes[0], sizes[1])):
        fill(hot, copies(trades, start, number), LOW)
        run(Tiers.open(settings), again=True)
        made = peak_mib(limited(settings, tmp_path, HIGH))
        found.append((made, peak_mib(limited(settings, tmp_path, NONE), "--dry-run")))
    assert read(settings, BY_NAME["silver_trades"]).height == within(trades, HIGH).height * sum(sizes)
    assert max(found[1]) < LIMIT_MIB, found
    assert all(more - less < SLACK_MIB for less, more in zip(*found, strict=True)), found
