"""Hot Gold that lost rows: a re-derivation says so and stops, and with `--mend-gold` makes the candles whole again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.publish.publisher import DayPublishError
from offload.rederive.run import rederive
from offload.run import run
from tests.clickhouse import ENVIRONMENT
from tests.offload.hot_tables import HotTables, read_tape
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, TO, assert_is, fill, limited, within

ROOT = Path(__file__).resolve().parents[3]
NAMES = {
    "clickhouse_host",
    "clickhouse_http_port",
    "clickhouse_database",
    "iceberg_catalog_uri",
    "iceberg_warehouse",
    "kafka_bootstrap_servers",
    "symbols_file",
}


@pytest.fixture
def settings(settings: Settings, brokers: str) -> Settings:
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers})


# Its siblings: test_rederive.py and test_late_candles.py.
@pytest.mark.nightly
@pytest.mark.parametrize(
    "limit",
    [pytest.param(HIGH, id="same rules", marks=pytest.mark.nightly), pytest.param(LOW, id="other rules")],
)
def test_candles_that_were_lost_are_mended(
    settings: Settings,
    hot: HotTables,
    tape: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: Decimal,
) -> None:
    trades = read_tape(tape).gather_every(32)
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    lost = "frame IN (60, 3600) AND symbol = 'ETHUSDT' SETTINGS mutations_sync = 2"
    hot.client.command(f"ALTER TABLE gold_ohlcv_state DELETE WHERE {lost}")
    new = limited(settings, tmp_path, limit)
    with monkeypatch.context() as patch:
        patch.setattr("offload.publish.publisher.INSERT_REPEAT_SECONDS", 0.5)
        with pytest.raises(DayPublishError, match="--mend-gold"):
            rederive(Tiers.open(new), FROM, TO)
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in new.model_dump(include=NAMES).items()}
    span = ("--from", f"{FROM:%Y-%m-%d}", "--to", f"{TO:%Y-%m-%d}")
    command = [sys.executable, "-m", "cli", "rederive", *span, "--mend-gold", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **given, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    published = {name.partition("/")[0] for day in json.loads(done.stdout)["days"] for name in day["published"]}
    assert "gold_ohlcv_state" in published
    assert_is(hot, settings, within(trades, limit))
