"""An empty machine: Iceberg's files and its catalog come back from a backup, everything hot is made again from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.recorded import OURS
from tests.stack import truth
from tests.stack.compare import gold_candles, silver_set, true_set
from tests.stack.conftest import Medallion

RECORDINGS = [OURS["kraken_v2_btcusd"], OURS["binance_spot_trades"]]
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


# Its sibling: the runbook disaster.md, whose commands tests/docs runs where ClickHouse's disk alone is lost.
@pytest.mark.nightly
def test_the_candles_are_the_same_on_an_empty_machine(tmp_path: Path, medallion: Medallion) -> None:
    folder, backup = tmp_path / "stack", tmp_path / "backup"
    expected = pl.concat([truth.trades(recorded) for recorded in RECORDINGS])
    medallion("up", "--data-dir", folder, "--detach")
    try:
        for recorded in RECORDINGS:
            medallion("replay", recorded.path, "--exchange", recorded.code, "--data-dir", folder)
        medallion("drain", "--data-dir", folder)
        medallion("offload", "run", "--until-now", "--data-dir", folder)
    finally:
        medallion("down", "--data-dir", folder)
    backup.mkdir()
    for kept in ("warehouse", "catalog.db"):
        shutil.move(folder / kept, backup / kept)
    shutil.rmtree(folder)

    folder.mkdir(mode=0o700)
    for kept in ("warehouse", "catalog.db"):
        shutil.move(backup / kept, folder / kept)
    medallion("up", "--data-dir", folder, "--detach")
    try:
        assert silver_set(medallion, folder) == []
        medallion("pin", "create", "loss", "--data-dir", folder)
        medallion("pin", "show", "loss", "--views", "--data-dir", folder)
        back = "INSERT INTO silver_trades SELECT * FROM pin_loss.silver_trades"
        medallion("query", back, "--data-dir", folder)
        medallion("pin", "drop", "loss", "--data-dir", folder)
        silver = silver_set(medallion, folder)
        assert len(silver) == expected.height
        assert set(silver) == true_set(expected)
        gold = gold_candles(medallion, folder)
        for frame in truth.FRAMES:
            assert gold[frame] == truth.candles(expected, frame), frame
        # It goes on: what came before the loss is known, and comes again without a change.
        medallion("replay", RECORDINGS[0].path, "--exchange", RECORDINGS[0].code, "--data-dir", folder)
        medallion("drain", "--data-dir", folder)
        assert sorted(silver_set(medallion, folder)) == sorted(silver)
        medallion("offload", "run", "--until-now", "--data-dir", folder)
    finally:
        medallion("down", "--data-dir", folder, "--timeout", "0", check=False)
