"""`medallion doctor` on the cold side: each fault of catalog, bucket and offload by its name, and nothing is made."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cli.stack.doctor.cold import cold
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.run import run
from offload.tables.catalog import open_catalog
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, duplicate_rows, of_one_hour, read_tape


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Settings:
    """There is no cold table yet."""
    return new_settings(http_port, tmp_path)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape)).head(1000)


def outcomes(settings: Settings) -> dict[str, str]:
    return {one.name: one.outcome for one in cold(settings)}


def test_each_fault_has_its_name(settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path) -> None:
    hot.insert("duplicate_trades", duplicate_rows(trades.head(600)))
    before = sorted(tmp_path.rglob("*"))
    assert outcomes(settings) == {"catalog": "ok", "offload": "warn"}
    assert sorted(tmp_path.rglob("*")) == before, "it looks and makes nothing"

    run(Tiers.open(settings))
    assert outcomes(settings) == {"catalog": "ok", "bucket": "ok", "offload": "ok"}
    hot.insert("duplicate_trades", duplicate_rows(trades.tail(400)))
    assert outcomes(settings) == {"catalog": "ok", "bucket": "ok", "offload": "warn"}

    warehouse = tmp_path / "warehouse"
    away = warehouse.rename(tmp_path / "away")
    assert outcomes(settings) == {"catalog": "ok", "bucket": "fail"}
    assert not warehouse.exists()
    away.rename(warehouse)
    open_catalog(settings).drop_table(f"{settings.iceberg_namespace}.silver_trades")
    (lacking,) = (one for one in cold(settings) if one.name == "catalog")
    assert (lacking.outcome, lacking.found) == ("fail", "lacks silver_trades")
