"""Python's usual ways to a table: SQLAlchemy, polars, DuckDB, pandas; and dbt in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from tests.node.conftest import PASSWORD, NodeProcess

pytestmark = [pytest.mark.nightly, pytest.mark.clients, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[3]
ROWS = 20_000


@pytest.fixture
def trades(node: NodeProcess, database: str) -> pl.DataFrame:
    """A table `t`, and what it holds."""
    client = node.native(database=database)
    client.execute(
        "CREATE TABLE t (id UInt64, symbol LowCardinality(String), price Float64) ENGINE = MergeTree ORDER BY id"
    )
    ids = list(range(ROWS))
    columns = [ids, [f"S{n % 3}" for n in ids], [n / 8 for n in ids]]
    client.execute("INSERT INTO t VALUES", columns, columnar=True)
    return pl.DataFrame({"id": ids, "symbol": columns[1], "price": columns[2]}, schema_overrides={"id": pl.UInt64})


def engine_of(node: NodeProcess, database: str) -> sa.Engine:
    return sa.create_engine(f"clickhousedb://default:{PASSWORD}@127.0.0.1:{node.http_port}/{database}")


def test_sqlalchemy_reflects_and_selects(node: NodeProcess, database: str, trades: pl.DataFrame) -> None:
    engine = engine_of(node, database)
    assert sa.inspect(engine).get_table_names() == ["t"]
    table = sa.Table("t", sa.MetaData(), autoload_with=engine)
    assert [column.name for column in table.columns] == ["id", "symbol", "price"]
    wanted = sa.select(sa.func.count(), sa.func.sum(table.c.price)).where(table.c.symbol == "S1")
    truth = trades.filter(pl.col("symbol") == "S1")
    with engine.connect() as connection:
        assert connection.execute(wanted).one() == (len(truth), truth["price"].sum())


def test_polars_and_pandas_read_the_rows(node: NodeProcess, database: str, trades: pl.DataFrame) -> None:
    sql = "SELECT * FROM t ORDER BY id"
    with engine_of(node, database).connect() as connection:
        assert_frame_equal(pl.read_database(sql, connection), trades, check_dtypes=False)
    client = node.http(database=database)
    assert_frame_equal(pl.DataFrame(client.query_arrow(sql)), trades, check_dtypes=False)
    assert_frame_equal(pl.from_pandas(client.query_df(sql)), trades, check_dtypes=False)


def test_duckdb_reads_the_rows_and_sends_its_own(
    node: NodeProcess, database: str, trades: pl.DataFrame, tmp_path: Path
) -> None:
    found = duckdb.from_arrow(node.http(database=database).query_arrow("SELECT symbol, price FROM t"))
    file = tmp_path / "sums.parquet"
    found.aggregate("symbol, sum(price) AS price").write_parquet(str(file))
    node.native(database=database).execute("CREATE TABLE sums (symbol String, price Float64) ENGINE = Memory")
    url = f"{node.url}?database={database}&query=INSERT%20INTO%20sums%20FORMAT%20Parquet"
    assert node.curl("--data-binary", f"@{file}", url).stdout == b""
    truth = trades.group_by("symbol").agg(pl.col("price").sum()).sort("symbol").rows()
    assert node.native(database=database).execute("SELECT * FROM sums ORDER BY symbol") == truth


@pytest.mark.parametrize("driver", ["http", "native"])
def test_dbt_debugs_and_runs(
    node: NodeProcess, database: str, trades: pl.DataFrame, tmp_path: Path, driver: str
) -> None:
    dbt = Path(os.environ.get("MEDALLION_TEST_DBT", ROOT / ".venv-clients" / "bin" / "dbt"))
    if not dbt.exists():
        pytest.skip(f"there is no {dbt}: `make compatibility` makes it, or MEDALLION_TEST_DBT names another one")
    port = node.http_port if driver == "http" else node.native_port
    (tmp_path / "dbt_project.yml").write_text(
        "name: shop\nversion: '1.0.0'\nprofile: node\nmodels: {+materialized: table}\n"
    )
    (tmp_path / "profiles.yml").write_text(
        f"node: {{target: one, outputs: {{one: {{type: clickhouse, driver: {driver}, host: 127.0.0.1, port: {port},"
        f" user: default, password: {PASSWORD}, schema: {database}, secure: false}}}}}}\n"
    )
    models = tmp_path / "models"
    models.mkdir()
    (models / "sums.sql").write_text(f"SELECT symbol, sum(price) AS price FROM {database}.t GROUP BY symbol\n")
    (models / "largest.sql").write_text(
        "{{ config(materialized='view') }}\nSELECT max(price) AS price FROM {{ ref('sums') }}\n"
    )
    for command in ("debug", "run", "run"):
        done = subprocess.run(
            [str(dbt), command, "--profiles-dir", str(tmp_path), "--project-dir", str(tmp_path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    truth = trades.group_by("symbol").agg(pl.col("price").sum()).sort("symbol")
    client = node.native(database=database)
    assert client.execute("SELECT symbol, price FROM sums ORDER BY symbol") == truth.rows()
    assert client.execute("SELECT price FROM largest") == [(truth["price"].max(),)]
