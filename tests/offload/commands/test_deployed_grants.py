"""Compose's users may do what the product does in their name: their grants, in force in the engine."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clickhouse_connect
import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_driver import Client
from typer.testing import CliRunner

from cli.main import app
from cli.stack.doctor.servers import grants
from config.settings import Settings
from ddl.grants import lacking
from ddl.readers import readers_database
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.shards import Shards
from offload.clickhouse.tiers import Tiers
from offload.errors import HotStoreError
from offload.pins import Pins
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ColdTier
from tests.clickhouse import PASSWORD
from tests.node.conftest import eventually
from tests.offload.command_line import as_environment
from tests.offload.commands.deployed_commands import ENDS_WITH, EXCUSED, as_ingest, leaves
from tests.offload.commands.shards import Readers, be_user, make_readers, make_sink, node_of_a_cluster
from tests.offload.conftest import Node, new_settings
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, TO, dead_letters, fill, limited, within
from tests.offload.rederive.test_accept import come, later, turned
from tests.series.klines import csv, minutes
from tests.series.test_providers import dump

pytestmark = pytest.mark.timeout(900)
KEY = ("exchange", "symbol", "trade_id")
ROOT = Path(__file__).resolve().parents[3]
LATER = datetime(2028, 1, 1, tzinfo=UTC)
# The node with another list of who may do what.
START = """
import runpy, sys
from pathlib import Path
from deploy.embedded.clickhouse.engine import config
config._USERS_TEMPLATE = Path(sys.argv.pop(1))
runpy.run_module("deploy.embedded.clickhouse", run_name="__main__")
"""
Become = Callable[..., None]


COMPOSE, CLUSTER = "compose/clickhouse/users.xml", "cluster/files/cluster-users.xml"


def users_of_the_node(operator: str, file: str) -> str:
    """The node's users: its operator with compose's limits and the grants of the deployed user `operator`, its analyst
    with the grants of its namesake. `file`: whose users."""
    text = (ROOT / "deploy/embedded/clickhouse/engine/node-users.xml").read_text()
    for role, user in (("operator", operator), ("analyst", "analyst")):
        queries = "".join(f"<query>{query}</query>" for query in granted(user, file))
        text, count = re.subn(
            f"<{role}>.*?</{role}>", f"<{role}><grants>{queries}</grants></{role}>", text, count=1, flags=re.DOTALL
        )
        assert count == 1
    limits = ET.parse(ROOT / "deploy" / COMPOSE).find("profiles/default")
    assert limits is not None
    settings = "".join(ET.tostring(one, encoding="unicode") for one in limits)
    return text.replace("<default>", f"<default>{settings}", 1)


def granted(user: str, file: str) -> list[str]:
    """The grants of a user of `file`."""
    users = ET.parse(ROOT / "deploy" / file)
    found = [str(query.text) for query in users.iterfind(f"users/{user}/grants/query")]
    assert found
    return found


@pytest.fixture
def settings(tmp_path: Path, brokers: str) -> Iterator[tuple[Settings, Become]]:
    """Settings of compose's database, and what starts the node again with the grants of a user."""
    template = tmp_path / "users.xml"
    analyst = ("--analyst-password-env", "ANALYST_PASSWORD")
    node = Node(tmp_path / "node", {"ANALYST_PASSWORD": PASSWORD}, ("-c", START, str(template), *analyst))
    running = False

    def become(user: str, file: str = COMPOSE) -> None:
        nonlocal running
        if running:
            node.stop()
        template.write_text(users_of_the_node(user, file))
        node.start()
        running = True

    try:
        yield (
            new_settings(node.http_port, tmp_path).model_copy(
                update={
                    "clickhouse_database": Settings().clickhouse_database,
                    "clickhouse_port": node.native_port,
                    "kafka_bootstrap_servers": brokers,
                }
            ),
            become,
        )
    finally:
        if running:
            node.stop()


def test_every_command_is_run_as_its_user_or_excused() -> None:
    """A new command is neither: run it in `as_ingest`, or say why not and which test does."""
    ran = {leaf for leaf in leaves() for words in as_ingest((), dict.fromkeys(KEY, ""), "") if begins(words, leaf)}
    assert ran.isdisjoint(EXCUSED)
    assert ran | EXCUSED.keys() == set(leaves())
    for command, excuse in EXCUSED.items():
        file, _, name = excuse.test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), command
        assert excuse.why, command


def begins(words: Sequence[str], leaf: str) -> bool:
    """Whether a command line is one of this command."""
    return " ".join(words[: leaf.count(" ") + 1]) == leaf


# Its siblings: security/test_users.py reads the grants.
@pytest.mark.nightly
def test_each_user_may_do_its_work(
    settings: tuple[Settings, Become], tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ddl` makes the tables; `ingest` fills them, does every command with the grants and limits that it has when
    deployed, and lets go; `analyst` reads all of it.
    """
    told, become = settings
    become("ddl")
    hot = HotTables(told)
    make_sink(hot)
    made = "SELECT last_success_time IS NOT NULL, exception FROM system.view_refreshes WHERE view = 'latest_prices_mv'"
    eventually(lambda: hot.client.query(made).result_rows == [(1, "")], "latest_prices is made with the rights of ddl")
    become("ingest")
    trades = read_tape(tape).tail(300)
    fill(hot, trades, LOW)
    dead_letters(hot, trades, LOW)
    corrected = within(trades, LOW).filter(pl.col("symbol") == "BTCUSDT").tail(1)
    come(hot, later(turned(corrected)), "price_text, side")
    (trade,) = corrected.to_dicts()
    for day in (FROM, FROM + timedelta(days=1)):
        dump(tmp_path, f"{trade['symbol']}-1m-{day:%Y-%m-%d}", csv(minutes(int(day.timestamp()) * 1000, 3)))
    new = limited(told, tmp_path, HIGH)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    secrets = {"clickhouse_password": PASSWORD}
    for name, value in (new.model_dump(mode="json", exclude_defaults=True) | secrets).items():
        monkeypatch.setenv(f"MEDALLION_{name}".upper(), str(value))
    runner = CliRunner()
    span = ("--from", f"{FROM:%Y-%m-%d}", "--to", f"{TO:%Y-%m-%d}")
    failed = {}
    for arguments in as_ingest(span, trade, str(tmp_path)):
        done = runner.invoke(app, arguments)
        said = f"{done.output[-500:]} {done.exception}"
        words = ENDS_WITH.get(" ".join(arguments[:2]))
        if done.exit_code if words is None else words not in said:
            failed[" ".join(arguments)] = f"{done.exit_code}: {said}"
    assert not failed
    # The last one re-derived by a higher limit; one trade was withdrawn.
    kept = within(trades, HIGH).height - 1
    assert hot.count("silver_trades") == kept > within(trades, LOW).height
    pins = Pins(ColdTier.open(told))
    pins.create("after")
    database = pins.publish("after", ClickHouseHttp(told))
    assert hot.count(f"{database}.silver_trades") == kept
    run(Tiers.open(told), until_now=True)
    report = close_gate(Tiers.open(told), drop=True, now=LATER)
    assert not [(one.table, one.partition, one.why) for one in report.verdicts if one.state != "dropped"]
    assert hot.count("silver_trades_all") == kept
    for denied in ("CREATE TABLE mine (number UInt8) ENGINE = Log", "DROP TABLE silver_trades"):
        with pytest.raises(DatabaseError, match="Not enough privileges"):
            hot.client.command(denied)
    # Views have the rights of `ddl`, who made them; here the node has those of one user at a time.
    become("ddl")
    fresh = "SELECT max(as_of) > now() - 30 FROM latest_prices_copy"
    eventually(lambda: hot.client.query(fresh).result_rows == [(1,)], "latest_prices is made again")
    assert_readable(told, database)


# Its siblings: test_over_shards.py does the same as a user who may do anything.
@pytest.mark.nightly
def test_on_a_cluster_a_day_is_re_derived_as_its_user(
    tape: Path, brokers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with node_of_a_cluster(tmp_path) as node:
        ports = {"kafka_bootstrap_servers": brokers, "clickhouse_port": node.native_port}
        told = new_settings(node.http_port, tmp_path, Settings().clickhouse_database).model_copy(update=ports)
        hot = HotTables(told)
        trades = of_one_hour(read_tape(tape)).tail(300)
        fill(hot, trades, HIGH)
        readers = make_readers(hot)
        run(Tiers.open(readers))
        node.stop()
        be_user(tmp_path, users_of_the_node("ingest", CLUSTER))
        node.start()
        # The trades that are beyond the limit become dead letters, and leave.
        as_environment(limited(readers, tmp_path, LOW), monkeypatch)
        span = ("--from", f"{FROM:%Y-%m-%d}", "--to", f"{TO:%Y-%m-%d}", "--exchange", "binance")
        done = CliRunner().invoke(app, ["rederive", *span])
        assert done.exit_code == 0, f"{done.output} {done.exception}"
        assert Readers(readers).count("silver_trades") == within(trades, LOW).height < within(trades, HIGH).height
        client = ClickHouseHttp(readers)
        with pytest.raises(HotStoreError, match="Not enough privileges"):
            client.command("DROP TABLE silver_trades", {})
        # There is no Keeper here, but the statement is one, and allowed.
        several = Shards(client, (ClickHouseHttp(told),), (client, client))
        with pytest.raises(HotStoreError, match="not replicated"):
            several.catch_up("silver_trades")


def test_the_doctor_finds_what_a_user_lacks(settings: tuple[Settings, Become]) -> None:
    """By the engine's own answer, under compose's grants and those of a cluster's readers."""
    told, become = settings
    told = told.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
    become("ingest")
    assert grants(told).outcome == "ok"
    become("ingest", CLUSTER)
    assert grants(told.model_copy(update={"clickhouse_database": readers_database(told)})).outcome == "ok"
    become("analyst")
    # Without a database, as the node refuses to this user the one that `grants` begins in. System tables the node's own
    # role `reader` may read.
    client = Client("127.0.0.1", told.clickhouse_port, password=PASSWORD)
    found = set(lacking(client, told))
    client.disconnect()
    writes = {"INSERT", "ALTER DELETE", "OPTIMIZE", "TRUNCATE", "ALTER CONSTRAINT", "CREATE VIEW", "DROP VIEW"}
    assert found == {
        *(f"{privilege} ON `{told.clickhouse_database}`.*" for privilege in writes),
        *(f"{privilege} ON pin_*.*" for privilege in ("CREATE DATABASE", "CREATE VIEW", "DROP VIEW")),
        "CREATE TEMPORARY TABLE ON *.*",
        "READ ON S3",
    }


def assert_readable(settings: Settings, pin: str) -> None:
    """To the analyst every view of the product's own database and of a pin answers."""
    analyst = clickhouse_connect.get_client(
        host=settings.clickhouse_host,
        port=settings.clickhouse_http_port,
        username="analyst",
        password=PASSWORD,
        database=settings.clickhouse_database,
        autogenerate_session_id=False,
    )
    asked = "SELECT database, name FROM system.tables WHERE engine = 'View' AND database IN {databases:Array(String)}"
    views = analyst.query(asked, parameters={"databases": [settings.clickhouse_database, pin]}).result_rows
    assert {database for database, _ in views} == {settings.clickhouse_database, pin}
    assert {"trades", "latest_prices", "gold_ohlcv_1m_exact", "silver_trades_all"} <= {name for _, name in views}
    for database, name in views:
        analyst.query(f"SELECT * FROM {database}.{name} LIMIT 1")
