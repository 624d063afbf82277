"""Engines that did not write the cold tables read in them what polars computes from the trades, a pin's version too."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import polars as pl
import pytest

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.locations import iceberg_source
from offload.clickhouse.tiers import Tiers
from offload.files.version_hint import publish_hint
from offload.pins import Pins
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME
from series.declaration import series_named
from tests.offload.cold_tables import load
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import ARRIVAL, HotTables, candles, of_one_hour, read_tape, silver_rows
from tests.offload.servers.maven import MissingError, jars
from tests.series.answers import answers_of

duckdb = pytest.importorskip("duckdb")

SPARK = Path(__file__).parent / "spark"
SPARK_PYTHON = Path(__file__).parents[2] / ".venv-spark" / "bin" / "python"
# Rows, and the exact sum of a column, of one version of a table.
Answer = tuple[int, Decimal]
BARS = series_named("bars")
FRAMES = {frame.view: timedelta(seconds=frame.seconds) for frame in load_layers().timeframes}
COLUMN = {"raw_trades": "raw_offset", "bronze_trades": "raw_offset", "silver_trades": "quote_volume"}


def column(name: str) -> str:
    return COLUMN.get(name, "volume")


def truth(trades: pl.DataFrame, hours: int) -> dict[str, Answer]:
    """Of every layer that has rows, by polars over the trades; of the bars by the answers of so many hours."""
    offsets = Decimal(trades["offset"].cast(pl.Int64).sum())
    found = {"raw_trades": (trades.height, offsets), "bronze_trades": (trades.height, offsets)}
    found["silver_trades"] = (trades.height, silver_rows(trades)["quote_volume"].sum())
    for view, length in FRAMES.items():
        frame = candles(trades, length)
        found[view] = (frame.height, frame["volume"].sum())
    kept = [row for answer in answers_of(BARS, ARRIVAL) for row in answer.rows[:2]] * hours
    found[BARS.snapshots] = (len(kept), sum((Decimal(row["volume"]) for row in kept), Decimal(0)))
    return found


class Versions:
    """A warehouse of two versions: the first is pinned as `backtest`, the second is current."""

    def __init__(self, settings: Settings, hot: HotTables, tape: Path) -> None:
        self.settings, self.client = settings, hot.client
        trades = of_one_hour(read_tape(tape)).tail(600)
        hot.load(trades.head(200))
        hot.load_series(BARS.name)
        run(Tiers.open(settings))
        self.pin = {part.table: part.snapshot_id for part in Pins(ColdTier.open(settings)).create("backtest").tables}
        hot.load(trades.slice(200))
        hot.load_series(BARS.name, hours=2)
        run(Tiers.open(settings))
        self.pinned, self.current = truth(trades.head(200), 1), truth(trades, 2)


@pytest.fixture(scope="module")
def versions(http_port: int, tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    folder = tmp_path_factory.mktemp("versions")
    settings = new_settings(http_port, folder)
    hot = HotTables(settings)
    yield Versions(settings, hot, tape)
    hot.give_back()


@pytest.fixture
def ducks() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with its Iceberg extension, from packages: nothing is fetched."""
    connection = duckdb.connect()
    for name in ("avro", "iceberg"):
        package = pytest.importorskip(f"duckdb_extension_{name}")
        (path,) = Path(str(importlib.resources.files(package))).rglob(f"{name}.duckdb_extension")
        connection.load_extension(str(path))
    yield connection
    connection.close()


def assert_versions(versions: Versions, read: Callable[[str, int | None], Answer]) -> None:
    """`read` gives the sum of a table, of its current snapshot or of the one with an id."""
    for name, expected in versions.current.items():
        assert read(name, None) == expected, name
        assert read(name, versions.pin[name]) == versions.pinned[name], name


# Of the fast tier: Polars and PyIceberg read the same tables.
@pytest.mark.nightly
def test_duckdb_reads_the_same(versions: Versions, ducks: duckdb.DuckDBPyConnection) -> None:
    def read(name: str, snapshot: int | None) -> Answer:
        # Given the folder, it follows the hint; given a metadata file, that.
        location = load(versions.settings, BY_NAME[name]).location().removeprefix("file://")
        version = f", snapshot_from_id = {snapshot}" if snapshot else ""
        sql = f"SELECT count(*), sum({column(name)})::DECIMAL(38, 20) FROM iceberg_scan('{location}'{version})"
        rows, total = ducks.execute(sql).fetchone() or (0, 0)
        return int(rows), Decimal(total)

    assert_versions(versions, read)


def test_polars_reads_the_same(versions: Versions) -> None:
    def read(name: str, snapshot: int | None) -> Answer:
        frame = pl.scan_iceberg(load(versions.settings, BY_NAME[name]), snapshot_id=snapshot)
        rows, total = frame.select(pl.len(), pl.col(column(name)).sum()).collect().row(0)
        return int(rows), Decimal(total)

    assert_versions(versions, read)


def test_pyiceberg_reads_the_same(versions: Versions) -> None:
    def read(name: str, snapshot: int | None) -> Answer:
        scan = load(versions.settings, BY_NAME[name]).scan()
        frame = pl.from_arrow((scan.use_ref("backtest") if snapshot else scan).to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame.height, Decimal(frame[column(name)].sum())

    assert_versions(versions, read)


def test_clickhouse_reads_the_same(versions: Versions) -> None:
    client: clickhouse_connect.driver.Client = versions.client

    def read(name: str, snapshot: int | None) -> Answer:
        source = iceberg_source(load(versions.settings, BY_NAME[name]))
        version = f" SETTINGS iceberg_snapshot_id = {snapshot}" if snapshot else ""
        sql = f"SELECT count(), toString(sum(toDecimal256({column(name)}, 20))) FROM {source}{version}"
        rows, total = client.query(sql).first_row
        return int(rows), Decimal(total)

    assert_versions(versions, read)


@pytest.mark.spark
def test_spark_reads_the_same(versions: Versions) -> None:
    """Through the catalog itself, which is an ordinary JDBC catalog; a pin by its name."""
    if not SPARK_PYTHON.exists():
        pytest.skip("Spark has an environment of its own, made by `make test-spark`")
    try:
        libraries = jars(SPARK / "pom.xml")
    except MissingError as error:
        pytest.skip(str(error))
    catalog = versions.settings.iceberg_catalog_uri.replace("sqlite:///", "jdbc:sqlite:")
    command = [str(SPARK_PYTHON), str(SPARK / "read_tables.py"), str(libraries), catalog]
    command += [
        versions.settings.iceberg_warehouse,
        "backtest",
        *(f"{name}={column(name)}" for name in versions.current),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(answers) == 2 * len(versions.current)
    for name, is_pinned, rows, total in answers:
        assert (rows, Decimal(total)) == (versions.pinned if is_pinned else versions.current)[name], name


def test_the_hint_names_the_catalogs_version(versions: Versions) -> None:
    for name in versions.current:
        table = load(versions.settings, BY_NAME[name])
        hint = Path(table.location().removeprefix("file://")) / "metadata" / "version-hint.text"
        assert table.metadata_location.endswith(f"/{hint.read_text()}.metadata.json")
        hint.write_text("stale")
    publish_hint(ColdTier.open(versions.settings), BY_NAME["silver_trades"])
    table = load(versions.settings, BY_NAME["silver_trades"])
    hint = Path(table.location().removeprefix("file://")) / "metadata" / "version-hint.text"
    assert table.metadata_location.endswith(f"/{hint.read_text()}.metadata.json")
