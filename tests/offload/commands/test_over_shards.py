"""In the readers' database of a cluster, whose tables are ClickHouse's own over all shards: days are re-derived, trades
accepted, and `doctor` finds there what `ddl apply` makes there. Two shards: test_two_shards.py."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.stack.doctor.servers import migrations
from config.settings import Settings
from ddl.readers import SUFFIX
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.errors import ReplicaAwayError
from offload.rederive.run import rederive
from offload.run import run
from offload.tables.cold_tables import TABLES
from tests.offload.command_line import as_environment
from tests.offload.commands.shards import Readers, make_readers
from tests.offload.conftest import Node, new_settings
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape
from tests.offload.rederive.rederiving import (
    FROM,
    HIGH,
    LOW,
    assert_is,
    dead_letters,
    fill,
    limited,
    within,
)
from tests.offload.rederive.test_accept import come, later, together, turned

DAY_AFTER = FROM + timedelta(days=1)
# Of the fast tier: the same commands on one server.
pytestmark = pytest.mark.nightly
SPAN = ("--from", f"{FROM:%Y-%m-%d}", "--to", f"{DAY_AFTER:%Y-%m-%d}", "--exchange", "binance")


@pytest.fixture(scope="module")
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape)).filter(pl.col("time").dt.day() == 8).tail(300)


@pytest.fixture(scope="module")
def accepted(trades: pl.DataFrame) -> pl.DataFrame:
    """Another version of a trade, which a dead letter has."""
    return later(turned(within(trades, LOW).head(1)))


@pytest.fixture(scope="module")
def shards(
    trades: pl.DataFrame, accepted: pl.DataFrame, cluster_node: Node, cluster_folder: Path, brokers: str
) -> Settings:
    """The readers' database with offloaded trades of a low limit; the higher limit is in force."""
    ports = {"kafka_bootstrap_servers": brokers, "clickhouse_port": cluster_node.native_port}
    hot = HotTables(new_settings(cluster_node.http_port, cluster_folder).model_copy(update=ports))
    fill(hot, trades, LOW)
    dead_letters(hot, trades, LOW)
    come(hot, accepted, "price_text, side")
    readers = limited(make_readers(hot), cluster_folder, HIGH)
    assert run(Tiers.open(readers)).slices
    return readers


def state(settings: Settings) -> tuple[dict[str, object], dict[str, int]]:
    """Every cold table's metadata, and the rows of every hot table of the shard."""
    tables = Tiers.open(settings).cold
    asked = "SELECT name, toInt64(total_rows) AS filled FROM system.tables WHERE database = {db:String} AND filled > 0"
    found = ClickHouseHttp(settings).rows(asked, {"db": settings.clickhouse_database.removesuffix(SUFFIX)})
    rows = {row["name"]: row["filled"] for row in found}
    return {cold.name: tables.load(cold).metadata_location for cold in TABLES}, rows


def ask(*command: str) -> Any:
    """What a command prints as JSON."""
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_rejected_trades_are_sent_again(
    shards: Settings, trades: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is sent to the workers, of whom there are none here, and is noted on its shard."""
    as_environment(shards, monkeypatch)
    rejected = trades.height - within(trades, LOW).height
    replay = ["dlq", "replay", "--reason", "quantity_above_limit", "--yes", "--timeout", "1"]
    assert f"{rejected} are on their way" in CliRunner().invoke(app, replay).stdout
    _, rows = state(shards)
    assert rows["bronze_trades_sink"] == rows["dlq_replays"] == rejected


def test_bronze_is_made_again_on_one_server_only(shards: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(shards)
    as_environment(shards, monkeypatch)
    for more in ([], ["--dry-run"]):
        refused = CliRunner().invoke(app, ["rederive", *SPAN, "--from-layer", "raw", *more])
        assert "Leave out `--from-layer raw`" in str(refused.exception)
    assert state(shards) == before


def test_a_replica_that_is_away_is_said_before_anything_changes(
    shards: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(shards)
    hot = ClickHouseHttp(shards)
    monkeypatch.setattr(hot, "at", lambda _host, database: ClickHouseHttp(_nowhere(shards, database)))
    with pytest.raises(ReplicaAwayError, match="every replica of every shard: no day was changed"):
        rederive(Tiers.open(shards, hot), FROM, DAY_AFTER, exchange="binance")
    assert state(shards) == before


def _nowhere(settings: Settings, database: str) -> Settings:
    return settings.model_copy(update={"clickhouse_http_port": 1, "clickhouse_database": database})


def test_a_day_follows_the_rules(shards: Settings, trades: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    as_environment(shards, monkeypatch)
    (day,) = ask("rederive", *SPAN)["days"]
    assert day["added"] == within(trades, HIGH).height - within(trades, LOW).height
    assert {name.partition("/")[0] for name in day["published"]} == {"silver_trades", "gold_ohlcv_state"}
    assert_is(Readers(shards), shards, within(trades, HIGH))


def test_a_trade_is_accepted(
    shards: Settings, trades: pl.DataFrame, accepted: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    rederive(Tiers.open(shards), FROM, DAY_AFTER, exchange="binance")
    as_environment(shards, monkeypatch)
    done = ask("dlq", "accept", "--exchange", "binance", "--yes")
    assert len(done["corrections"]) == sum(day["altered"] for day in done["days"]) == 1
    assert_is(Readers(shards), shards, together(within(trades, HIGH), accepted))


def test_the_gate_says_that_it_has_compared_nothing(shards: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    as_environment(shards, monkeypatch)
    done = CliRunner().invoke(app, ["offload", "gate", "--json"])
    assert json.loads(done.stdout)["verdicts"] == []
    assert "nothing was compared" in done.stderr


def test_the_doctor_finds_what_the_database_lacks(shards: Settings) -> None:
    """It compared these tables with the migrations of one server, and called all of them wrong."""
    assert migrations(shards).outcome == "ok"
    for kind, name in (("VIEW", "latest_prices"), ("TABLE", "duplicate_trades")):
        ClickHouseHttp(shards).command(f"DROP {kind} {name}", {})
    found = migrations(shards)
    assert (found.outcome, found.found) == (
        "fail",
        f"{shards.clickhouse_database} lacks duplicate_trades, latest_prices",
    )
