"""Invariants 6 and 7 in a storm of faults, on a folder and on a real S3 server: nothing lost, doubled, left behind.

STORM_FAULTS (2 each) and STORM_SEED change it: `make storm`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from pyarrow.fs import FileSelector, FileType
from pyiceberg.io.pyarrow import PyArrowFileIO

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.maintain.expiry import maintain
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME
from tests.offload.cold_tables import files_referenced, load, read
from tests.offload.conftest import Node, new_settings, running_node
from tests.offload.hot_tables import HotTables, read_tape
from tests.offload.hourly.storm import BATCH, KILL_EVERY, Storm
from tests.offload.servers import s3_server
from tests.offload.servers.fault_proxy import FaultProxy
from tests.offload.servers.maven import MissingError

FAULTS = int(os.environ.get("STORM_FAULTS", "2"))
SEED = int(os.environ.get("STORM_SEED", "1"))
KILLS = max(1, FAULTS // 10)
pytestmark = pytest.mark.timeout(60 + 60 * FAULTS)


@pytest.fixture(scope="module")
def s3_endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FaultProxy]]:
    """The server's own address, and the proxy that may break what goes through it."""
    try:
        s3_server.find()
    except MissingError as error:
        pytest.skip(str(error))
    with s3_server.s3_server(tmp_path_factory.mktemp("s3")) as port, FaultProxy(port).serve() as proxy:
        yield f"http://127.0.0.1:{port}", proxy


@pytest.fixture
def tape_rows(tape: Path) -> pl.DataFrame:
    """Trades of one day, repeated under other ids and the offsets that follow, more than the storm takes."""
    day = read_tape(tape).filter(pl.col("time").dt.day() == 8)
    return pl.concat(
        day.with_columns(
            (pl.col("trade_id").cast(pl.Int64) + time * 10**9).cast(pl.String), pl.col("offset") + time * day.height
        )
        for time in range(1 + 3 * FAULTS * BATCH // day.height)
    )


def data_files(settings: Settings) -> set[str]:
    """What is in the warehouse, by its own listing."""
    table = load(settings, BY_NAME["silver_trades"])
    assert isinstance(table.io, PyArrowFileIO)
    root = table.location().removesuffix("/silver_trades")
    scheme, netloc, path = PyArrowFileIO.parse_location(root)
    found = table.io.fs_by_scheme(scheme, netloc).get_file_info(FileSelector(path, recursive=True))
    files = (info.path for info in found if info.type == FileType.File and info.path.endswith(".parquet"))
    return {root + file.removeprefix(path) for file in files}


def weather(storm: Storm, settings: Settings, capsys: pytest.CaptureFixture[str], where: str) -> None:
    with capsys.disabled():
        print(f"\nstorm on {where}: seed {SEED}, {FAULTS} faults …", flush=True)  # noqa: T201
    storm.blow(FAULTS, KILLS)
    run(Tiers.open(settings), again=True)
    arrived = pl.concat(storm.arrived)
    for name, key in (("raw_trades", "raw_offset"), ("bronze_trades", "raw_offset"), ("silver_trades", "raw_offset")):
        cold = read(settings, BY_NAME[name])
        assert sorted(cold[key]) == sorted(arrived["offset"]), f"seed {SEED}: {name}"
    for frame in ("1m", "1h", "1d"):
        assert read(settings, BY_NAME[f"gold_ohlcv_{frame}"])["trade_count"].sum() == arrived.height, f"seed {SEED}"
    maintain(ColdTier.open(settings), orphan_age=timedelta(0))
    assert data_files(settings) == files_referenced(settings), f"seed {SEED}: files that nobody owns"
    with capsys.disabled():
        print("\n".join(f"  {count:4} {kind}" for kind, count in sorted(storm.count.items())), flush=True)  # noqa: T201
    assert storm.count.total() >= FAULTS


@pytest.fixture
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[HotTables, Node | None]]:
    """Empty tables; of a node of its own, which may be killed, if the storm is long enough to come to that."""
    if FAULTS < KILL_EVERY:
        hot: HotTables = request.getfixturevalue("hot")
        # The views of an earlier test are there; where their tables are, a run says.
        run(Tiers.open(hot.settings), layers=())
        yield hot, None
        return
    with running_node(tmp_path / "node") as node:
        yield HotTables(new_settings(node.http_port, tmp_path)), node


# Its siblings: test_faults.py has its faults one by one, retention/test_gate.py those of the gate, and
# retention/test_union_views.py that every row is shown once.
@pytest.mark.nightly
def test_a_storm_over_a_folder_loses_nothing(
    ground: tuple[HotTables, Node | None], tape_rows: pl.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot, node = ground
    storm = Storm(hot.settings, hot, tape_rows, SEED, tmp_path, node, None)
    weather(storm, hot.settings, capsys, "a folder")


@pytest.mark.nightly
@pytest.mark.s3
def test_a_storm_over_s3_loses_nothing(
    s3_endpoints: tuple[str, FaultProxy],
    tmp_path: Path,
    tape_rows: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, proxy = s3_endpoints
    for name, value in s3_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_node(tmp_path / "node", s3_server.CREDENTIALS) as node:
        settings = new_settings(node.http_port, tmp_path).model_copy(
            update={
                "iceberg_warehouse": f"s3://{s3_server.BUCKET}/storm",
                "s3_endpoint": f"http://127.0.0.1:{proxy.port}",
                "s3_region": s3_server.REGION,
            }
        )
        storm = Storm(settings, HotTables(settings), tape_rows, SEED, tmp_path, node, proxy)
        weather(storm, settings, capsys, "S3")
