"""In the readers' database of a cluster: what would change a day is refused before it changes anything, and `doctor`
finds there what `ddl apply` makes there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.stack.doctor.servers import migrations
from config.settings import Settings
from ddl.readers import SUFFIX
from offload.accept import DeadLetterFilter, accept, plan_accept
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.publish.over_shards import OverShardsError
from offload.rederive.from_raw import rederive_from_raw
from offload.rederive.run import rederive
from offload.run import run
from offload.tables.cold_tables import TABLES
from tests.offload.command_line import as_environment
from tests.offload.commands.shards import make_readers, node_of_a_cluster
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, TO, dead_letters, fill, limited, within
from tests.offload.rederive.test_accept import come, later, turned

SPAN = ("--from", f"{FROM:%Y-%m-%d}", "--to", f"{TO:%Y-%m-%d}", "--exchange", "binance")
CONTRADICTED = DeadLetterFilter(exchange="binance")
Change = Callable[[Tiers], object]


@pytest.fixture(scope="module")
def trades(tape: Path) -> int:
    """How many a re-derivation by the higher limit would add."""
    rows = read_tape(tape).tail(300)
    return within(rows, HIGH).height - within(rows, LOW).height


@pytest.fixture(scope="module")
def shards(tape: Path, brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The readers' database with offloaded trades of a low limit and a dead letter that may be accepted; the higher
    limit is in force."""
    folder = tmp_path_factory.mktemp("shards")
    with node_of_a_cluster(folder) as node:
        ports = {"kafka_bootstrap_servers": brokers, "clickhouse_port": node.native_port}
        told = new_settings(node.http_port, folder).model_copy(update=ports)
        hot = HotTables(told)
        rows = of_one_hour(read_tape(tape).tail(300))
        fill(hot, rows, LOW)
        dead_letters(hot, rows, LOW)
        come(hot, later(turned(within(rows, LOW).head(1))), "price_text, side")
        readers = limited(make_readers(hot), folder, HIGH)
        assert run(Tiers.open(readers)).slices
        yield readers


def state(settings: Settings) -> tuple[dict[str, object], dict[str, int]]:
    """Every cold table's metadata, and the rows of every hot table of the shard."""
    tables = Tiers.open(settings).cold
    asked = "SELECT name, toInt64(total_rows) AS filled FROM system.tables WHERE database = {db:String} AND filled > 0"
    found = ClickHouseHttp(settings).rows(asked, {"db": settings.clickhouse_database.removesuffix(SUFFIX)})
    rows = {row["name"]: row["filled"] for row in found}
    return {cold.name: tables.load(cold).metadata_location for cold in TABLES}, rows


CHANGES: dict[str, Change] = {
    "rederive": lambda tiers: rederive(tiers, FROM, TO, exchange="binance"),
    "from raw": lambda tiers: rederive_from_raw(tiers, FROM, TO),
    "from raw, dry run": lambda tiers: rederive_from_raw(tiers, FROM, TO, dry_run=True),
    "accept": lambda tiers: accept(tiers, plan_accept(tiers, CONTRADICTED)),
}


@pytest.mark.parametrize(
    "change",
    # Without a dry run, the same is refused at the same place.
    [pytest.param(change, id=name, marks=[pytest.mark.nightly] * ("dry" in name)) for name, change in CHANGES.items()],
)
def test_nothing_is_changed_in_either_tier(shards: Settings, change: Change) -> None:
    """Iceberg alone used to change, and the command reported success."""
    before = state(shards)
    assert plan_accept(Tiers.open(shards), CONTRADICTED).trades.height == 1
    with pytest.raises(OverShardsError, match=r"silver_trades are tables over all shards.*`medallion dlq replay`"):
        change(Tiers.open(shards))
    assert state(shards) == before


def test_a_dry_run_says_what_would_change_and_that_it_cannot(
    shards: Settings, trades: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_environment(shards, monkeypatch)
    runner = CliRunner()
    dry = json.loads(runner.invoke(app, ["rederive", *SPAN, "--dry-run", "--json"]).stdout)
    assert sum(day["added"] for day in dry["days"]) == trades
    accepted = json.loads(runner.invoke(app, ["dlq", "accept", "--exchange", "binance", "--json"]).stdout)
    assert len(accepted["corrections"]) == 1
    for told in (dry, accepted):
        assert "over all shards" in told["cannot_publish"]
    for command in (["rederive", *SPAN, "--dry-run"], ["dlq", "accept", "--exchange", "binance"]):
        said = runner.invoke(app, command)
        assert said.exit_code == 0
        assert "It cannot be done here" in said.stdout


def test_what_the_message_offers_instead_works(shards: Settings, trades: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rejected trade is sent to the workers, of whom there are none here, and is noted on its shard."""
    as_environment(shards, monkeypatch)
    replay = ["dlq", "replay", "--reason", "quantity_above_limit", "--yes", "--timeout", "1"]
    assert f"{trades} are on their way" in CliRunner().invoke(app, replay).stdout
    _, rows = state(shards)
    assert rows["bronze_trades_sink"] == rows["dlq_replays"] == trades


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
