"""The readers' database of a cluster on one node, over one shard or over two.

The engine has no Keeper, so the statements of `ddl.readers` are run without ON CLUSTER, over tables that are not
replicated. The node refuses the engine Distributed to its clients; here it is allowed.

**One shard** is the node itself, read and written through ClickHouse's own Distributed tables. **Two shards** are two
databases of the node. A Distributed table cannot have both, as a replica with a database of its own counts as another
server, and the node has no native port for servers. So a Merge table reads both, and a Null table with a view for each
shard takes the rows, by the sharding key of the Distributed table in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from config.settings import Settings
from ddl.readers import SUFFIX, render_readers
from ddl.render import render
from offload.clickhouse.client import ClickHouseHttp, Parameters
from tests.offload.conftest import Node, new_settings
from tests.offload.hot_tables import HotTables

CLUSTER = "medallion"
_ENGINE = Path(__file__).resolve().parents[3] / "deploy/embedded/clickhouse/engine"
_START = """
import runpy, sys
from pathlib import Path
from deploy.embedded.clickhouse.engine import config
from deploy.embedded.clickhouse.sql import policy
folder = Path(sys.argv.pop(1))
config._TEMPLATE, config._USERS_TEMPLATE = folder / "node-config.xml", folder / "node-users.xml"
policy.ENGINES |= {"Distributed"}
runpy.run_module("deploy.embedded.clickhouse", run_name="__main__")
"""
# The cluster of two shards, and their databases.
PAIR, DATABASES = "pair", ("half_1", "half_2")
_REPLICA = "<host>127.0.0.1</host><port>9000</port>"
# At the port that a server has by default, the replica is the engine itself.
_SHARD = (
    f"<tcp_port>9000</tcp_port><remote_servers><{CLUSTER}><shard><replica>{_REPLICA}</replica></shard></{CLUSTER}>"
    f"<{PAIR}>"
    + "".join(
        f"<shard><replica>{_REPLICA}<default_database>{name}</default_database></replica></shard>" for name in DATABASES
    )
    + f"</{PAIR}></remote_servers>"
)
# What takes rows for both shards.
_INTO = "_rows"


def into(table: str) -> str:
    """The table of the readers' database that takes rows of `table` for both shards."""
    return table + _INTO


# The tables that are written through the readers' database, and one that nothing here asks.
_WRITTEN = (
    *("silver_trades", "silver_trades_staged", "duplicate_trades", "dlq_trades_log", "dlq_replays", "corrections"),
    *("rederivations", "offload_watermarks", "left_partitions", "rules_versions"),
)
_UNUSED = "quality_checks_log"
# As cluster-users.xml has it.
_PROFILE = (
    "<distributed_foreground_insert>1</distributed_foreground_insert>"
    "<distributed_product_mode>global</distributed_product_mode>"
)


@contextmanager
def node_of_a_cluster(folder: Path) -> Iterator[Node]:
    """A running node that knows the cluster and may create tables over its shards. `folder` has its configuration."""
    config = (_ENGINE / "node-config.xml").read_text()
    (folder / "node-config.xml").write_text(config.replace("</clickhouse>", f"{_SHARD}</clickhouse>"))
    grants = "<operator>\n            <grants>"
    users = (_ENGINE / "node-users.xml").read_text()
    assert grants in users
    be_user(folder, users.replace(grants, f"{grants}<query>GRANT READ, WRITE ON REMOTE</query>"))
    node = Node(folder / "node", program=("-c", _START, str(folder)))
    try:
        node.start()
        yield node
    finally:
        node.stop()


def be_user(folder: Path, users: str) -> None:
    """From its next start on, the node of `folder` has these users, with the settings of a cluster's."""
    (folder / "node-users.xml").write_text(users.replace("<default>", f"<default>{_PROFILE}", 1))


def make_sink(hot: HotTables) -> None:
    """The Kafka table that takes Bronze rows once more, without Kafka: what is inserted stays in memory."""
    (sink,) = (statement.sql for statement in render(hot.settings) if statement.object == "bronze_trades_sink")
    hot.client.command(re.sub("ENGINE = Kafka.*", "ENGINE = Memory", sink, flags=re.DOTALL))


def make_readers(hot: HotTables) -> Settings:
    """Create the readers' database over the tables of `hot`; the settings of a service there."""
    make_sink(hot)
    on_cluster = f" ON CLUSTER {CLUSTER}"
    for statement in render_readers(hot.settings.model_copy(update={"clickhouse_cluster": CLUSTER})):
        assert on_cluster in statement.sql
        hot.client.command(statement.sql.replace(on_cluster, ""))
    return hot.settings.model_copy(update={"clickhouse_database": hot.settings.clickhouse_database + SUFFIX})


class Readers(HotTables):
    """The readers' database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = self._connect(settings.clickhouse_database)


class PairOfShards:
    """Two shards on `node`, and the readers' database over them. `readers`: the settings of a service there."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.each = [HotTables(new_settings(node.http_port, folder, name)) for name in DATABASES]
        first = self.each[0]
        name = f"pair{SUFFIX}"
        self.readers = first.settings.model_copy(update={"clickhouse_database": name})
        cluster = {"clickhouse_database": "pair", "clickhouse_cluster": PAIR}
        for statement in render_readers(first.settings.model_copy(update=cluster)):
            sql = statement.sql.replace(f" ON CLUSTER {PAIR}", "")
            made = re.fullmatch(r"(?s)(.*) AS pair\.(\w+)\nENGINE = Distributed\('pair', 'pair', '\w+', (.*)\)", sql)
            for text in self._tables(made[1], made[2], made[3]) if made else [sql]:
                first.client.command(text)

    def _tables(self, create: str, table: str, key: str) -> list[str]:
        """Statements in place of the one that would create the Distributed table."""
        if table.endswith("_sink"):
            return []
        like = f"AS {DATABASES[0]}.{table} ENGINE ="
        if table == _UNUSED:
            # By such a table the shards are found.
            return [f"{create} {like} Distributed('{PAIR}', '', {table}, {key})"]
        texts = [f"{create} {like} Merge(REGEXP('^half_[12]$'), '^{table}$')"]
        if table in _WRITTEN:
            into = f"{self.readers.clickhouse_database}.{table}{_INTO}"
            texts.append(f"CREATE TABLE {into} {like} Null")
            # By this bit of the key each exchange has a market on each shard.
            shard = f"intDiv({key.replace('rand()', '0')}, 16) % 2"
            texts += [
                f"CREATE MATERIALIZED VIEW {into}_{number} TO {name}.{table} AS SELECT * FROM {into}"
                f" WHERE {shard} = {number}"
                for number, name in enumerate(DATABASES)
            ]
        return texts

    def insert(self, table: str, frame: pl.DataFrame) -> None:
        """Insert rows through the readers' database, each on its shard. Raw goes to both, as it comes from Kafka."""
        if table == "trades_raw":
            for number, shard in enumerate(self.each):
                shard.insert(table, frame.filter(pl.col("_offset") % 2 == number))
        else:
            Readers(self.readers).insert(into(table), frame)


class OverPair(ClickHouseHttp):
    """A command's client of the readers' database over two shards, and the clients of the shards that come from it.

    `before` is called with the database and the statement (`INSERT <table>` for rows) before it is sent.
    """

    def __init__(self, settings: Settings, before: Callable[[str, str], object] = lambda _database, _sql: None) -> None:
        super().__init__(settings)
        self._of, self._before = settings, before
        self._into = "" if settings.clickhouse_database in DATABASES else _INTO

    def at(self, host: str, database: str) -> OverPair:
        elsewhere = {"clickhouse_host": host, "clickhouse_database": database}
        return OverPair(self._of.model_copy(update=elsewhere), self._before)

    def command(self, sql: str, parameters: Parameters) -> None:
        self._before(self._of.clickhouse_database, sql)
        super().command(re.sub(r"INSERT INTO (\w+)", rf"INSERT INTO \1{self._into}", sql), parameters)

    def insert(self, table: str, rows: pa.Table) -> None:
        self._before(self._of.clickhouse_database, f"INSERT {table}")
        super().insert(f"{table}{self._into}", rows)
