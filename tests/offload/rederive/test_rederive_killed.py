"""A re-derivation killed at any step leaves readers a whole version, and the next one finishes it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import tenacity

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive
from offload.run import run
from tests.clickhouse import as_json
from tests.offload.cold_tables import files_on_disk, files_referenced
from tests.offload.hot_tables import HotTables, read_tape
from tests.offload.rederive.rederiving import (
    FROM,
    HIGH,
    LOW,
    assert_is,
    assert_proved,
    day_of,
    dead_letters,
    fill,
    limited,
    seen_day,
    within,
)

DAY_AFTER = FROM + timedelta(days=1)
# In the order in which they come; every third one, unless all are asked for.
ALL_STEPS = (
    ("INSERT dlq_replays", 1),
    ("INSERT dlq_trades_log", 1),
    ("commit:silver_trades", 1),
    ("commit:gold_ohlcv_15m", 1),
    ("INSERT rederivations", 1),
    ("CREATE OR REPLACE VIEW gold_ohlcv_15m_exact (", 1),
    ("ALTER TABLE silver_trades ADD CONSTRAINT", 1),
    ("INSERT INTO silver_trades_staged", 2),
    ("ALTER TABLE silver_trades REPLACE PARTITION", 1),
    ("INSERT rederivations", 3),
    ("ALTER TABLE gold_ohlcv_state DELETE", 1),
    ("INSERT INTO gold_ohlcv_state", 1),
    ("CREATE OR REPLACE VIEW gold_ohlcv_15m_exact (", 2),
    ("INSERT rederivations", 4),
)
STEPS = ALL_STEPS if os.environ.get("MEDALLION_TEST_EVERY_KILL") else ALL_STEPS[2::3]


@pytest.fixture
def posted(settings: Settings, brokers: str) -> Settings:
    """The settings with a broker for the dead letters."""
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers})


def kill_at(settings: Settings, step: tuple[str, int], marker: Path) -> bool:
    """Run until the step and kill; False if it ended without meeting it."""
    span = (FROM.isoformat(), DAY_AFTER.isoformat())
    command = [sys.executable, "-m", "tests.offload.rederive.rederive_worker", as_json(settings), *span]
    with subprocess.Popen([*command, step[0], str(step[1]), str(marker)]) as process:
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda met: not met),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(120),
        )
        waiting(lambda: marker.exists() or process.poll() is not None)
        process.kill()
        process.wait()
    return marker.exists()


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_killed_at_each_step(posted: Settings, hot: HotTables, tape: Path, tmp_path: Path) -> None:
    """The limit falls and rises in turn, killed at one step after the other."""
    trades = read_tape(tape).filter(pl.col("time").dt.day() == 8).gather_every(8)
    fill(hot, trades, HIGH)
    dead_letters(hot, trades, HIGH)
    run(Tiers.open(posted))
    low, high = within(trades, LOW), within(trades, HIGH)
    assert_proved(posted, high.height, 0, trades.height - high.height)
    for number, step in enumerate(STEPS):
        limit, after = (HIGH, high) if number % 2 else (LOW, low)
        new = limited(posted, tmp_path, limit)
        # Dead letters are only written when the limit falls for the first time.
        met = kill_at(new, step, tmp_path / f"marker-{number}")
        assert met or step[0] == "INSERT dlq_trades_log", step
        answer = seen_day(hot.client)
        assert len(set(answer)) == 1, (step, answer)
        assert answer[0] in {day_of(low), day_of(high)}, (step, answer)
        rederive(Tiers.open(new), FROM, DAY_AFTER, exchange="binance")
        assert set(seen_day(hot.client)) == {day_of(after)}, step
        assert_proved(posted, after.height, 0, trades.height - after.height)
    assert_is(hot, posted, after)
    assert files_on_disk(posted) == files_referenced(posted), "those that were killed left no file"
