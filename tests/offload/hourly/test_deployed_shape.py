"""The offload as it is deployed: a REST catalog, a bucket on a real S3 server, ClickHouse reading the bucket itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from pydantic import SecretStr

from cli.stack.doctor import cold as doctor
from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.errors import WarehouseError
from offload.maintain.expiry import maintain
from offload.pins import Pins
from offload.proof.verify import verify
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME, TABLES
from tests.offload.cold_tables import read
from tests.offload.conftest import clickhouse_node, new_settings
from tests.offload.hot_tables import HotTables, candles, read_tape
from tests.offload.servers import rest_catalog, s3_server, seaweedfs
from tests.offload.servers.maven import MissingError

pytestmark = [pytest.mark.s3, pytest.mark.rest, pytest.mark.timeout(7200)]
LATER = datetime(2028, 1, 1, tzinfo=UTC)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((s3_server.find, s3_server.s3_server), id="versitygw"),
        # It is built in a quarter of an hour, once.
        pytest.param((seaweedfs.find, seaweedfs.seaweedfs), id="seaweedfs", marks=pytest.mark.deploy_real),
    ],
)
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of all three, for each store; the servers run as long as the module's tests."""
    find, server = request.param
    try:
        find()
        rest_catalog.find()
    except MissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("deployed")
    warehouse = f"s3://{s3_server.BUCKET}/deployed"
    with server(folder / "s3") as port:
        endpoint = f"http://127.0.0.1:{port}"
        with (
            rest_catalog.rest_catalog(folder / "catalog", warehouse, endpoint, s3_server.CREDENTIALS) as catalog,
            clickhouse_node(folder / "node", s3_server.CREDENTIALS) as http_port,
        ):
            yield s3_server.over_bucket(new_settings(http_port, folder), catalog, endpoint)


# The same on a folder is the business of the other files here.
@pytest.mark.nightly
def test_offload_verify_pin_gate_and_views(deployed: Settings, tape: Path, tmp_path: Path) -> None:
    trades = read_tape(tape).tail(400)
    hot = HotTables(deployed)
    hot.load(trades.head(150))
    run(Tiers.open(deployed))
    pin = Pins(ColdTier.open(deployed)).create("backtest")
    hot.load(trades.slice(150))
    run(Tiers.open(deployed))
    assert verify(Tiers.open(deployed)).ok
    for cold in TABLES:
        if cold.layer in {"raw", "bronze", "silver"}:
            assert read(deployed, cold).height == trades.height
    database = Pins(ColdTier.open(deployed)).publish("backtest", ClickHouseHttp(deployed))
    for part in pin.tables:
        if part.rows:
            assert hot.count(f"{database}.{part.table}") == part.rows
    report = close_gate(Tiers.open(deployed), drop=True, now=LATER)
    assert {verdict.state for verdict in report.verdicts} == {"dropped"}
    assert hot.count("silver_trades") == 0
    assert hot.count("silver_trades_all") == trades.height
    for frame in load_layers().timeframes:
        truth = candles(trades, timedelta(seconds=frame.seconds))
        asked = f"SELECT count(), toString(sum(volume)), toString(sum(open)) FROM {frame.exact_view}_all"
        rows, volume, opens = hot.client.query(asked).first_row
        found = pl.DataFrame({"volume": [volume], "open": [opens]}).select(pl.all().str.to_decimal(scale=18)).row(0)
        assert (rows, *found) == (truth.height, truth["volume"].sum(), truth["open"].sum())
    maintain(ColdTier.open(deployed), orphan_age=timedelta(0))
    assert hot.count("silver_trades_all") == trades.height
    # A catalog that is away fails the run; the first one that reaches it catches up.
    hot.load(trades.with_columns(pl.col("trade_id") + "0", pl.col("arrived") + timedelta(days=40)))
    away = deployed.model_copy(update={"iceberg_catalog_uri": f"http://127.0.0.1:{s3_server.free_port()}"})
    with pytest.raises(WarehouseError, match="Cannot open the Iceberg catalog"):
        run(Tiers.open(away))
    run(Tiers.open(deployed))
    assert read(deployed, BY_NAME["silver_trades"]).height == 2 * trades.height
    assert hot.count("silver_trades_all") == 2 * trades.height


# Its sibling: commands/test_doctor.py, on a folder.
@pytest.mark.nightly
def test_the_doctor_names_what_does_not_answer(deployed: Settings, tape: Path) -> None:
    HotTables(deployed).load(read_tape(tape).head(50))
    run(Tiers.open(deployed))
    away = f"http://127.0.0.1:{s3_server.free_port()}"
    without_catalog = deployed.model_copy(update={"iceberg_catalog_uri": away})
    without_key = deployed.model_copy(update={"s3_secret_access_key": SecretStr("wrong")})
    for settings, outcomes in (
        (deployed, {"catalog": "ok", "bucket": "ok", "offload": "ok"}),
        (without_catalog, {"catalog": "fail"}),
        (without_key, {"catalog": "ok", "bucket": "fail"}),
    ):
        assert {one.name: one.outcome for one in doctor.cold(settings)} == outcomes
