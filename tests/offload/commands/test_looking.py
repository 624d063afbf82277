"""Invariant: a command that only looks makes no folder, catalog or table, and says that nothing is cold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from offload.clickhouse.tiers import Tiers
from offload.tables.catalog import ColdView, ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME, TABLES
from tests.offload.command_line import as_environment
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, read_tape

DAY = ("--from", "2026-01-05", "--to", "2026-01-06")
MARKET = ("--exchange", "binance", "--symbol", "BTCUSDT")


@pytest.fixture(scope="module")
def fresh(http_port: int, tmp_path_factory: pytest.TempPathFactory, tape: Path) -> Iterator[HotTables]:
    """Trades in the hot tables of a stack that never had an offload."""
    hot = HotTables(new_settings(http_port, tmp_path_factory.mktemp("fresh") / "none"))
    hot.load(read_tape(tape).head(50))
    yield hot
    hot.give_back()


# Of the fast tier: the one below.
@pytest.mark.nightly
def test_looking_makes_nothing(
    fresh: HotTables, tape: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    as_environment(fresh.settings, monkeypatch)
    trade = read_tape(tape).filter(symbol="BTCUSDT").row(0, named=True)
    at = ("--candle", "1m", "--at", f"{trade['time']:%Y-%m-%dT%H:%M:%S}")
    folder = Path(fresh.settings.iceberg_catalog_uri.removeprefix("sqlite:///")).parent
    for command, code, shown in (
        (("lineage", "trace", *MARKET, "--trade-id", trade["trade_id"]), 0, f"{trade['trade_id']}: silver"),
        (("lineage", "trace", *MARKET, *at), 0, "First and last"),
        (("lineage", "verify"), 0, "Counted: 50 messages"),
        (("lineage", "verify", "--strict"), 1, "not offloaded"),
        (("lineage", "series", "fear_greed", "day=2026-01-05"), 1, ""),
        (("offload", "status"), 0, "silver_trades"),
        (("offload", "gate"), 1, "held"),
        (("offload", "maintain", "--dry-run"), 0, "silver_trades"),
        (("rederive", *DAY, "--dry-run"), 0, ""),
        (("dlq", "accept", *MARKET), 0, "nothing to accept"),
        (("dlq", "withdraw", *MARKET, "1"), 0, ""),
        (("pin", "diff", "now", "now"), 0, ""),
    ):
        with subtests.test(command=" ".join(command)):
            done = CliRunner().invoke(app, command)
            assert done.exit_code == code, (done.output, done.exception)
            assert shown in done.stdout
            assert "Nothing is in Iceberg yet" in done.stderr or command[0] == "pin"
            assert not folder.exists()


def test_a_table_is_looked_at_as_this_version_has_it(fresh: HotTables, tmp_path: Path) -> None:
    """A table of 0.1 lacks later columns, and others are missing. Neither is written."""
    settings = new_settings(fresh.settings.clickhouse_http_port, tmp_path, fresh.settings.clickhouse_database)
    silver = BY_NAME["silver_trades"]
    catalog = open_catalog(settings)
    old = replace(silver, columns=tuple(one for one in silver.columns if one[0] not in silver.later), later={})
    ensure_tables(catalog, settings.iceberg_namespace, (old,))
    before = catalog.load_table(f"{settings.iceberg_namespace}.silver_trades").metadata_location
    found = Tiers.look(settings).cold.load_all()
    assert {name: [field.name for field in table.schema().fields] for name, table in found.items()} == {
        cold.name: [name for name, _, _ in cold.columns] for cold in TABLES
    }
    assert found["silver_trades"].metadata_location == before
    assert ColdView.look(settings).missing() == [cold.name for cold in TABLES if cold is not silver]
