"""A client that names no database is where the tables are; one that named `default` is told where they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clickhouse_driver.errors import ServerException

from tests.node.conftest import NodeProcess, start


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    running = start(tmp_path_factory.mktemp("landing"), "--landing-database", "shop")
    yield running
    running.stop()


def test_clients_land_where_the_tables_are(landing: NodeProcess) -> None:
    before = landing.native()
    assert before.execute("SELECT currentDatabase()") == [("default",)], "it does not exist yet"
    before.execute("CREATE DATABASE shop")
    before.execute("CREATE TABLE shop.t (a Int8) ENGINE = MergeTree ORDER BY a")
    assert landing.native().execute("SELECT currentDatabase(), count() FROM t") == [("shop", 0)]
    assert landing.curl("--data-binary", "SHOW TABLES", landing.url).stdout == b"t\n"
    hint = "the tables are in shop: connect to that database, or write shop and a dot before their names"
    with pytest.raises(ServerException) as failure:
        landing.native(database="default").execute("SELECT * FROM t")
    assert hint in str(failure.value)
    in_default = f"{landing.url}?database=default"
    assert hint.encode() in landing.curl("--data-binary", "SELECT * FROM t", in_default).stdout
    assert hint.encode() not in landing.curl("--data-binary", "SELECT * FROM shop.none", landing.url).stdout
