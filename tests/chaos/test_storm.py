"""Invariants 2, 3 and 8 under faults: whatever is killed whenever, each trade counts once and every candle is true.

A short one with the same seed every time kills each kind of process. `CHAOS_KILLS` makes it longer,
`CHAOS_SEEDS` are others: `make chaos`, `make chaos-seeds`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.embedded.layout import DataDir
from tests.chaos.storm import LONGEST_PAUSE_S, Feed, Storm, chunks
from tests.recorded import OURS, Recorded
from tests.stack import truth
from tests.stack.compare import gold_candles, silver_set, true_set
from tests.stack.conftest import Medallion

# Kills and seed of the short storm: they strike a worker, the broker (where it keeps its log) and the node, in turn.
SHORT = 3, 1960
KINDS = {"memory": {"silver", "clickhouse"}, "kafka": {"silver", "clickhouse", "broker"}}
KILLS = int(os.environ.get("CHAOS_KILLS", SHORT[0]))
SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEEDS", str(SHORT[1])).split(",")]
# How much of Binance's recording a short storm has.
SOME_FRAMES = 3_000
# Two workers share the work only if Bronze is spread over partitions; a killed one must not be waited for long.
SETTINGS = {"MEDALLION_BRONZE_SHARDS": "4", "MEDALLION_SILVER_SESSION_TIMEOUT_MS": "2000"}

# Of the fast tier: kafka_engine/test_tables.py kills the node while rows flow, silver/inserts/test_partition.py a
# worker at every step.
pytestmark = [pytest.mark.nightly, pytest.mark.stack, pytest.mark.timeout(240 + 15 * KILLS)]


@pytest.mark.parametrize("number", range(len(SEEDS)))
@pytest.mark.parametrize("broker", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_silver_and_every_candle_are_true_after_a_storm(
    broker: str,
    number: int,
    tmp_path: Path,
    applied: Path,
    medallion: Medallion,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    seed = SEEDS[number]
    if broker == "kafka":
        request.getfixturevalue("kafka")
    with capsys.disabled():
        print(f"\nstorm on {broker}: seed {seed}, {KILLS} kills …", flush=True)  # noqa: T201
    folder = shutil.copytree(applied, tmp_path / "stack", symlinks=True)
    medallion("up", "--broker", broker, "--workers", "2", "--data-dir", folder, "--detach", settings=SETTINGS)
    try:
        replayed = replayed_recordings(tmp_path)
        recordings = {recorded.path: recorded.code for recorded in replayed}
        feed = Feed(folder, chunks(recordings, 3 * KILLS, tmp_path), seed)
        storm = Storm(folder, seed)
        feed.start(KILLS * LONGEST_PAUSE_S / 2)
        storm.rage(KILLS)
        if (KILLS, seed) == SHORT:
            assert {name.partition("-")[0] for name in storm.killed} == KINDS[broker]
        feed.finish()
        _settle(medallion, folder)

        expected = pl.concat([truth.trades(recorded) for recorded in replayed])
        silver = silver_set(medallion, folder)
        assert len(silver) == len(set(silver)), f"seed {seed}: a trade is in Silver twice"
        assert set(silver) == true_set(expected), f"seed {seed}"
        gold = gold_candles(medallion, folder)
        for frame in truth.FRAMES:
            assert gold[frame] == truth.candles(expected, frame), f"seed {seed}: {frame}"
        medallion("lineage", "verify", "--data-dir", folder)
        with capsys.disabled():
            print(  # noqa: T201
                f"  {storm.killed.total()} kills {dict(storm.killed)}, {feed.copies} chunks twice: all true", flush=True
            )
    finally:
        medallion("down", "--data-dir", folder, "--timeout", "0", check=False)


def replayed_recordings(folder: Path) -> list[Recorded]:
    """What the storm is fed with; the file of a part is in `folder`."""
    binance = [OURS["binance_spot_trades"], OURS["binance_usdm_trades"]]
    if KILLS <= 8:
        binance = [binance[0].part(SOME_FRAMES, folder)]
    return [
        *binance,
        OURS["kraken_v2_btcusd"],
        OURS["kraken_v2_btcusdt_synthetic"],
        OURS["bybit_v5_linear_synthetic"],
    ]


def _settle(medallion: Medallion, folder: Path) -> None:
    """Wait until every process is back, then until nothing is in flight."""

    @retry(
        retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(120), wait=wait_fixed(0.5), reraise=True
    )
    def healthy() -> None:
        # The command costs half a second of CPU: it is asked when the supervisor's file says so.
        state = DataDir(folder).read()
        assert state is not None
        assert state.state == "healthy"
        status = medallion("status", "--data-dir", folder, "--json", check=False)
        assert status.returncode == 0, status.stdout + status.stderr
        assert json.loads(status.stdout)["state"] == "healthy"

    healthy()
    medallion("drain", "--timeout", "150", "--data-dir", folder)
