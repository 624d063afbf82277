"""An empty machine, deployed: bucket and Postgres come back from a backup, everything hot is made again from them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.pins import Pins
from offload.proof.verify import verify
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME
from tests.offload.conftest import clickhouse_node, new_settings
from tests.offload.hot_tables import HotTables, candles, read_tape
from tests.offload.servers import postgres, rest_catalog, s3_server
from tests.offload.servers.maven import MissingError

# Its siblings: stack/operation/test_restore.py, the same of an embedded stack, and test_deployed_shape.py, the same
# servers.
pytestmark = [pytest.mark.nightly, pytest.mark.s3, pytest.mark.rest, pytest.mark.timeout(1800)]
# The volumes that docs/runbooks/operate.md archives, as folders of a machine.
STORE, DATABASE = "object-store-data", "catalog-database-data"


@contextmanager
def machine(volumes: Path, folder: Path) -> Iterator[Settings]:
    """Everything running over `volumes`; ClickHouse is empty, in `folder`."""
    warehouse = f"s3://{s3_server.BUCKET}/deployed"
    with s3_server.s3_server(volumes / STORE) as port, postgres.postgres(volumes / DATABASE) as database:
        endpoint = f"http://127.0.0.1:{port}"
        with (
            rest_catalog.rest_catalog(
                folder / "catalog", warehouse, endpoint, s3_server.CREDENTIALS, database
            ) as catalog,
            clickhouse_node(folder / "node", s3_server.CREDENTIALS) as http_port,
        ):
            yield s3_server.over_bucket(new_settings(http_port, folder, "medallion"), catalog, endpoint)


@contextmanager
def volumes() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="medallion-volumes-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_candles_are_the_same_on_an_empty_machine(tape: Path, tmp_path: Path) -> None:
    try:
        for server in (s3_server, rest_catalog, postgres):
            server.find()
    except MissingError as error:
        pytest.skip(str(error))
    trades = read_tape(tape).tail(400)
    with volumes() as old:
        with machine(old, tmp_path / "old") as settings:
            HotTables(settings).load(trades)
            run(Tiers.open(settings))
        for volume in (STORE, DATABASE):
            shutil.make_archive(f"{tmp_path}/{volume}", "gztar", old / volume)

    with volumes() as new, ExitStack() as stack:
        for volume in (STORE, DATABASE):
            shutil.unpack_archive(f"{tmp_path}/{volume}.tar.gz", new / volume, filter="tar")
        settings = stack.enter_context(machine(new, tmp_path / "new"))
        hot = HotTables(settings)
        assert hot.count("silver_trades") == 0
        pins = Pins(ColdTier.open(settings))
        pins.create("loss")
        pinned = pins.publish("loss", ClickHouseHttp(settings))
        hot.client.command(f"INSERT INTO silver_trades SELECT * FROM {pinned}.silver_trades")
        assert hot.count("silver_trades") == trades.height
        for frame in load_layers().timeframes:
            truth = candles(trades, timedelta(seconds=frame.seconds))
            asked = f"SELECT count(), toString(sum(volume)), toString(sum(open)) FROM {frame.exact_view}"
            rows, volume, opens = hot.client.query(asked).first_row
            sums = pl.DataFrame({"volume": [volume], "open": [opens]}).select(pl.all().str.to_decimal(scale=18)).row(0)
            assert (rows, *sums) == (truth.height, truth["volume"].sum(), truth["open"].sum()), frame.code
        run(Tiers.open(settings))
        # Raw and Bronze stay in Iceberg alone, and are named until their hours are older than what is kept hot.
        differ = {one.table for one in verify(Tiers.open(settings)).tables if one.differences}
        assert {BY_NAME[name].layer for name in differ} == {"raw", "bronze"}
