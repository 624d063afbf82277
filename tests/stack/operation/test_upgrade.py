"""A data folder that version 0.1.0 made and filled goes on under this version, with every trade and candle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.recorded import OURS
from tests.releases import extracted
from tests.stack import truth
from tests.stack.compare import gold_candles, silver_set, true_set
from tests.stack.conftest import Medallion, clean_environment

BEFORE = [OURS["kraken_v2_btcusd"], OURS["binance_spot_trades"]]
AFTER = OURS["kraken_v2_btcusdt_synthetic"]
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture
def earlier(tmp_path: Path, state_home: Path) -> Medallion:
    """`medallion …` of version 0.1.0, with today's libraries."""
    code = extracted("0.1.0", tmp_path / "release-0.1")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=code,
            env={**clean_environment(state_home), "PYTHONPATH": str(code)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"0.1.0: {arguments}\n{done.stdout}\n{done.stderr}"
        return done

    return run


# Its sibling: ddl/test_upgrade.py brings the database of 0.1.0 up to date, statement by statement.
@pytest.mark.nightly
def test_the_folder_of_version_0_1_goes_on(tmp_path: Path, medallion: Medallion, earlier: Medallion) -> None:
    folder = tmp_path / "stack"
    earlier("up", "--data-dir", folder, "--detach")
    try:
        for recorded in BEFORE:
            earlier("replay", recorded.path, "--exchange", recorded.code, "--data-dir", folder)
        earlier("drain", "--data-dir", folder)
        earlier("offload", "run", "--until-now", "--data-dir", folder)
    finally:
        earlier("down", "--data-dir", folder)

    medallion("up", "--data-dir", folder, "--detach", timeout=300)
    try:
        expected = pl.concat([truth.trades(recorded) for recorded in BEFORE])
        _is_whole(medallion, folder, expected)
        # What came before comes again, and something new.
        for recorded in (*BEFORE, AFTER):
            medallion("replay", recorded.path, "--exchange", recorded.code, "--data-dir", folder)
        medallion("drain", "--data-dir", folder)
        expected = pl.concat([expected, truth.trades(AFTER)])
        _is_whole(medallion, folder, expected)
        medallion("offload", "run", "--until-now", "--data-dir", folder)
        medallion("offload", "verify", "--data-dir", folder)
        medallion("lineage", "verify", "--data-dir", folder)
    finally:
        medallion("down", "--data-dir", folder, "--timeout", "0", check=False)


def _is_whole(medallion: Medallion, folder: Path, expected: pl.DataFrame) -> None:
    silver = silver_set(medallion, folder)
    assert len(silver) == len(set(silver))
    assert set(silver) == true_set(expected)
    gold = gold_candles(medallion, folder)
    for frame in truth.FRAMES:
        assert gold[frame] == truth.candles(expected, frame), frame
