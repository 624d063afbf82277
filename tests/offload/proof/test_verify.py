"""`verify` notices any row of a cold file that is not the hot one, and says where."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.cold.printing import conclusion
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.proof.trace import Tracer
from offload.proof.verify import verify
from offload.run import run
from offload.tables.cold_tables import BY_NAME, Layer
from tests.offload.cold_tables import live_files
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, of_one_hour, raw_rows, read_tape, silver_rows


@pytest.fixture(scope="module")
def hot_and_cold(http_port: int, tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HotTables]:
    """300 trades of one hour, offloaded; a test that damages a file puts it back."""
    folder = tmp_path_factory.mktemp("verify")
    hot = HotTables(new_settings(http_port, folder))
    trades = of_one_hour(read_tape(tape).head(300))
    hot.insert("silver_trades", silver_rows(trades))
    hot.insert("trades_raw", raw_rows(_with_unreadable_price(trades)))
    run(Tiers.open(hot.settings))
    assert verify(Tiers.open(hot.settings)).ok
    yield hot
    hot.give_back()


@pytest.fixture(scope="module")
def offloaded(hot_and_cold: HotTables) -> Settings:
    return hot_and_cold.settings


def _with_unreadable_price(trades: pl.DataFrame) -> pl.DataFrame:
    """The first three trades have no number for a price, so that Bronze holds NULL."""
    unreadable = pl.col("offset") < 3
    return trades.with_columns(pl.when(unreadable).then(pl.lit("n/a")).otherwise(pl.col("price")).alias("price"))


def _rewrite(path: Path, change: str, column: str) -> pa.Table:
    """Damage one file in place; returns the damaged row."""
    table = pq.read_table(path)
    if change == "drop":
        pq.write_table(table.slice(1), path)
    elif change == "repeat":
        pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    elif change == "swap":
        # The same values in other rows: sums of single columns would not notice.
        values = table.column(column).combine_chunks()
        order = pa.array([1, 0, *range(2, len(values))])
        assert values[0] != values[1]
        pq.write_table(
            table.set_column(table.schema.get_field_index(column), table.field(column), values.take(order)), path
        )
    else:
        values = table.column(column).to_pylist()
        values[0] = _other(values[0])
        field = table.field(column)
        pq.write_table(
            table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type)), path
        )
    return table.slice(0, 1)


def _other(value: object) -> object:
    if isinstance(value, Decimal):
        return value + Decimal("0.000000000000000001")
    if isinstance(value, str):
        return f"{value}x"
    if value is None:
        return 0.0
    assert isinstance(value, int | float)
    return value + 1


@pytest.mark.parametrize(
    ("name", "change", "column"),
    [
        ("raw_trades", "change", "price"),
        # Rows are counted alike in every table that has hours.
        pytest.param("raw_trades", "drop", "", marks=pytest.mark.nightly),
        ("bronze_trades", "change", "price"),
        ("bronze_trades", "change", "price_text"),
        pytest.param("bronze_trades", "repeat", "", marks=pytest.mark.nightly),
        ("silver_trades", "change", "price"),
        ("silver_trades", "change", "bronze_offset"),
        ("silver_trades", "swap", "raw_offset"),
        ("silver_trades", "drop", ""),
        ("silver_trades", "repeat", ""),
        ("gold_ohlcv_1m", "change", "close"),
        # One statement reads all time frames.
        pytest.param("gold_ohlcv_1d", "change", "volume", marks=pytest.mark.nightly),
    ],
)
def test_a_damaged_cold_file_is_found(offloaded: Settings, name: str, change: str, column: str) -> None:
    layer = BY_NAME[name].layer
    path = sorted(live_files(offloaded, BY_NAME[name]))[0]
    intact = path.read_bytes()
    row = _rewrite(path, change, column)
    try:
        report = verify(Tiers.open(offloaded), layers=(layer,))
    finally:
        path.write_bytes(intact)
    assert not report.ok
    assert {file.file for table in report.tables for file in table.damaged} == {path.as_uri()}
    differences = [difference for table in report.tables for difference in table.differences]
    assert [(d.table, d.exchange, d.symbol) for d in differences] == [
        (name, row["exchange"][0].as_py(), row["symbol"][0].as_py())
    ]
    assert differences[0].cold_rows - differences[0].hot_rows == {"drop": -1, "repeat": 1}.get(change, 0)


def test_a_changed_row_with_a_null_is_found(offloaded: Settings) -> None:
    """A hash of a row with NULL is NULL: the row must not drop out of the checksum."""
    path = sorted(live_files(offloaded, BY_NAME["bronze_trades"]))[0]
    intact = path.read_bytes()
    table = pq.read_table(path)
    row = table.column("price").to_pylist().index(None)
    texts = table.column("quantity_text").to_pylist()
    texts[row] += "0"
    index = table.schema.get_field_index("quantity_text")
    pq.write_table(table.set_column(index, table.field(index), pa.array(texts, table.field(index).type)), path)
    try:
        assert not verify(Tiers.open(offloaded), layers=("bronze",)).ok
    finally:
        path.write_bytes(intact)


def test_a_hot_row_that_appeared_since_is_a_difference(hot_and_cold: HotTables, tape: Path) -> None:
    """Its candle has grown, as it does by a late trade: the next offload takes it."""
    hot_and_cold.load(of_one_hour(read_tape(tape).slice(300, 1)))
    report = verify(Tiers.open(hot_and_cold.settings))
    assert {difference.table for table in report.tables for difference in table.differences} >= {
        "raw_trades",
        "bronze_trades",
        "silver_trades",
    }


def test_an_open_hour_is_compared_until_it_grows(settings: Settings, hot: HotTables, tape: Path) -> None:
    """What was compared and what was not is said of every table, and never more than there was."""
    now = datetime.now(UTC)
    trades = read_tape(tape).head(60).with_columns(pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("arrived"))
    fresh = trades.with_columns(pl.col("arrived").alias("time"))
    hot.load(fresh.head(40))
    hot.load_left_out(fresh.head(40))
    nothing = verify(Tiers.open(settings))
    assert (nothing.ok, nothing.complete) == (True, False)
    assert {part.why for table in nothing.tables for part in table.not_compared} == {"not offloaded"}
    assert conclusion(nothing) == "Nothing was compared: no hot row is in Iceberg yet."
    run(Tiers.open(settings), until_now=True)
    whole = verify(Tiers.open(settings))
    assert (whole.ok, whole.complete) == (True, True)
    arrival = ("raw_trades", "bronze_trades", "silver_trades", "duplicate_trades", "dlq_trades")
    assert [(t.table, t.slices, t.open_slices, t.hot_rows) for t in whole.tables[:5]] == [
        (n, 1, 1, 40) for n in arrival
    ]
    assert {t.slices for t in whole.tables if BY_NAME[t.table].layer != "series"} == {1}
    assert "not compared" not in conclusion(whole)
    # A row that was lost in the open hour is found.
    (file,) = live_files(settings, BY_NAME["raw_trades"])
    kept = file.read_bytes()
    _rewrite(file, "drop", "price")
    (damaged,) = verify(Tiers.open(settings), layers=("raw",)).tables
    assert len(damaged.differences) == 1
    file.write_bytes(kept)
    # Rows that come after are named; what has not grown is compared all the same.
    hot.insert("silver_trades", silver_rows(fresh.tail(20)))
    grown = verify(Tiers.open(settings))
    assert grown.ok
    left_out = {table.table: [(part.why, part.hot_rows) for part in table.not_compared] for table in grown.tables}
    assert left_out.pop("silver_trades") == [("grown", 60)]
    assert {name for name, parts in left_out.items() if parts} == {name for name in left_out if name.startswith("gold")}
    assert "Nothing was compared of silver_trades" in conclusion(grown)
    assert not verify(Tiers.open(settings), include_open=True, layers=("silver",)).ok


# Of the fast tier: hourly/test_late_candles.py verifies after late trades.
@pytest.mark.nightly
def test_candles_with_late_trades_are_no_difference(settings: Settings, hot: HotTables, tape: Path) -> None:
    """Until the next offload; a candle that is another without a trade more is one."""
    trades = read_tape(tape).head(40)
    hot.insert("silver_trades", silver_rows(trades.head(30)))
    run(Tiers.open(settings), layers=("silver", "gold"))
    late = trades.tail(10).with_columns(pl.col("arrived") + timedelta(hours=3))
    hot.insert("silver_trades", silver_rows(late))
    found = verify(Tiers.open(settings), layers=("gold",))
    assert (found.ok, found.complete) == (True, False)
    assert all("grown" in {part.why for part in table.not_compared} for table in found.tables)
    assert not verify(Tiers.open(settings), layers=("gold",), include_open=True).ok
    candle = Tracer(Tiers.open(settings)).candle("1d", "binance", trades["symbol"][0], trades["time"][0])
    assert candle.changes == ()
    assert "Iceberg lacks trades of it" in candle.not_compared
    run(Tiers.open(settings), layers=("silver", "gold"))
    again = verify(Tiers.open(settings), layers=("gold",))
    assert (again.ok, again.complete) == (True, True)
    # States that were inserted twice look like late trades, which Silver does not have.
    doubled = "INSERT INTO gold_ohlcv_state SELECT * FROM gold_ohlcv_state WHERE frame = 86400"
    hot.client.command(f"{doubled} SETTINGS deduplicate_insert = 'disable'")
    found = verify(Tiers.open(settings), layers=("gold",))
    excess = {table.table: [(one.candle_trades, one.silver_trades) for one in table.excess] for table in found.tables}
    assert excess.pop("gold_ohlcv_1d") == [(80, 40)]
    assert (found.ok, [*filter(None, excess.values())]) == (False, [])
    hot.client.command("ALTER TABLE gold_ohlcv_state UPDATE low = low / 2 WHERE 1 SETTINGS mutations_sync = 2")
    assert not verify(Tiers.open(settings), layers=("gold",)).ok


def test_candles_that_have_not_ended_are_named(settings: Settings, hot: HotTables, tape: Path) -> None:
    now = datetime.now(UTC)
    closed = (
        read_tape(tape)
        .head(20)
        .with_columns(
            pl.lit(now - timedelta(hours=2)).cast(pl.Datetime("us", "UTC")).alias("arrived"),
            pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("time"),
        )
    )
    layers: tuple[Layer, ...] = ("silver", "gold")
    hot.insert("silver_trades", silver_rows(closed))
    run(Tiers.open(settings), layers=layers)
    report = verify(Tiers.open(settings), layers=layers)
    named = {table.table: [part.why for part in table.not_compared] for table in report.tables}
    assert report.ok
    assert (named["silver_trades"], named["gold_ohlcv_1d"]) == ([], ["open"])
