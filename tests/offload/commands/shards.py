"""The readers' database of a cluster on one node: tables over all shards, of which this node is the only one.

The engine has no Keeper, so the statements of `ddl.readers` are run without ON CLUSTER, over tables that are not
replicated. The node refuses the engine Distributed to its clients; here it is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.settings import Settings
from ddl.readers import SUFFIX, render_readers
from ddl.render import render
from tests.offload.conftest import Node
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
# At the port that a server has by default, the replica is the engine itself.
_SHARD = (
    f"<tcp_port>9000</tcp_port><remote_servers><{CLUSTER}><shard><replica><host>127.0.0.1</host><port>9000</port>"
    f"</replica></shard></{CLUSTER}></remote_servers>"
)
# As cluster-users.xml has it.
_PROFILE = (
    "<distributed_foreground_insert>1</distributed_foreground_insert>"
    "<distributed_product_mode>global</distributed_product_mode>"
)


@contextmanager
def node_of_a_cluster(folder: Path) -> Iterator[Node]:
    """A running node that knows the cluster and may create tables over its shards."""
    changes = {
        "node-config.xml": ("</clickhouse>", f"{_SHARD}</clickhouse>"),
        "node-users.xml": ("<default>", f"<default>{_PROFILE}"),
    }
    for name, (before, after) in changes.items():
        text = (_ENGINE / name).read_text().replace(before, after, 1)
        if name == "node-users.xml":
            grants = "<operator>\n            <grants>"
            assert grants in text
            text = text.replace(grants, f"{grants}<query>GRANT READ, WRITE ON REMOTE</query>")
        assert after in text
        (folder / name).write_text(text)
    node = Node(folder / "node", program=("-c", _START, str(folder)))
    node.start()
    try:
        yield node
    finally:
        node.stop()


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
