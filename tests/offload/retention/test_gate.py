"""A hot partition goes only when Iceberg has every one of its rows, whatever happens meanwhile (invariant 6)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.proof.verify import verify
from offload.retention.gate import GateReport, close_gate, leaving
from offload.run import run
from offload.tables.cold_tables import BY_NAME, TABLES, Layer
from tests.offload.cold_tables import live_files, read
from tests.offload.hot_tables import (
    ARRIVAL,
    HotTables,
    dead_letter_rows,
    duplicate_rows,
    of_one_hour,
    read_tape,
    silver_rows,
)

RETAINED = [entry.table for entry in load_layers().all_retention]
LATER = datetime(2028, 1, 1, tzinfo=UTC)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    """Of one hour, and of two days of event time."""
    return of_one_hour(read_tape(tape).gather_every(32))


@pytest.fixture
def of_a_day(trades: pl.DataFrame) -> pl.DataFrame:
    """Those of the first day: a partition of each table."""
    return trades.filter(pl.col("time").dt.day() == 8)


def _states(report: GateReport) -> dict[str, str]:
    return {table: " ".join({v.state for v in report.verdicts if v.table == table}) for table in RETAINED}


def _hot_rows(hot: HotTables) -> dict[str, int]:
    return {table: hot.count(table) for table in RETAINED}


def test_what_iceberg_has_is_dropped_and_nothing_else_is(
    settings: Settings, hot: HotTables, of_a_day: pl.DataFrame
) -> None:
    hot.load(of_a_day)
    hot.load_left_out(of_a_day.head(100))
    hot.load_series()
    before = _hot_rows(hot)
    assert _states(close_gate(Tiers.open(settings), drop=True, now=LATER)) == dict.fromkeys(RETAINED, "held")
    assert _hot_rows(hot) == before, "nothing was offloaded, nothing may go"
    run(Tiers.open(settings))
    cold = {table.name: read(settings, table).height for table in TABLES}
    report = close_gate(Tiers.open(settings), drop=True, now=LATER)
    assert _states(report) == dict.fromkeys(RETAINED, "dropped")
    assert sum(v.rows for v in report.verdicts if v.table == "silver_trades") == of_a_day.height
    assert set(_hot_rows(hot).values()) == {0}
    assert {hot.count(leaving(table)) for table in RETAINED} == {0}
    run(Tiers.open(settings))
    assert {table.name: read(settings, table).height for table in TABLES} == cold, "the cold tier does not forget"


def test_age_counts_from_the_later_of_event_and_arrival(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("silver_trades", silver_rows(trades))
    run(Tiers.open(settings), layers=("silver",))
    # The trades are of 2024, they arrived in 2026: old by event time, young by arrival.
    last = trades["arrived"].max()
    assert isinstance(last, datetime)
    expiry = last.replace(tzinfo=UTC) + timedelta(days=30)
    for now, state in ((expiry - timedelta(minutes=1), "young"), (expiry, "confirmed")):
        report = close_gate(Tiers.open(settings), tables=["silver_trades"], now=now)
        assert {verdict.state for verdict in report.verdicts} == {state}
    assert hot.count("silver_trades") == trades.height, "a dry run drops nothing"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("raw_trades", marks=pytest.mark.nightly),
        # So does a trade that arrives before the move, in silver_trades (below).
        "bronze_trades",
        pytest.param("silver_trades", marks=pytest.mark.nightly),
        pytest.param("duplicate_trades", marks=pytest.mark.nightly),
        # Its rows merge as those of bronze_trades do.
        pytest.param("dlq_trades", marks=pytest.mark.nightly),
        "gold_ohlcv_1m",
        pytest.param("gold_ohlcv_1d", marks=pytest.mark.nightly),
    ],
)
def test_one_changed_value_in_iceberg_holds_the_partition(
    settings: Settings, hot: HotTables, of_a_day: pl.DataFrame, name: str
) -> None:
    # Of one day: another day's partition, which has no damage, may go.
    hot.load(of_a_day)
    hot.load_left_out(of_a_day)
    cold = BY_NAME[name]
    run(Tiers.open(settings), layers=(cold.layer,))
    table = cold.hot_table
    path = live_files(settings, cold)[0]
    rows = pq.read_table(path)
    columns = {"raw": "price", "bronze": "price_text", "dlq": "value", "gold": "close"}
    column = columns.get(cold.layer, "trade_id")
    values = rows.column(column).to_pylist()
    values[0] = values[0] + 1 if cold.layer == "gold" else f"{values[0]}0"
    field = rows.schema.field(column)
    damaged = rows.set_column(rows.schema.get_field_index(column), field, pa.array(values, field.type))
    pq.write_table(damaged, path)
    # The other partitions of the candle states are of other time frames.
    rows_at_stake = f"{table} WHERE frame = {cold.bucket_seconds}" if cold.layer == "gold" else table
    before = hot.count(rows_at_stake)
    (held,) = close_gate(Tiers.open(settings), drop=True, tables=[table], now=LATER).held
    assert "values differ" in held.why
    assert hot.count(rows_at_stake) == before


class Meddling(ClickHouseHttp):
    """Does something to the hot table just before or just after the gate moves a partition."""

    def __init__(self, settings: Settings, when: str, what: Callable[[], None]) -> None:
        super().__init__(settings)
        self._when, self._what, self._done = when, what, False

    def command(self, sql: str, parameters: Parameters) -> None:
        outward = "TO TABLE silver_trades_leaving" in sql and not self._done
        self._done = self._done or outward
        if outward and self._when == "before":
            self._what()
        super().command(sql, parameters)
        if outward and self._when == "after":
            self._what()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_trade_that_arrives_while_the_gate_is_at_work_is_not_lost(
    settings: Settings, hot: HotTables, of_a_day: pl.DataFrame, when: str
) -> None:
    hot.insert("silver_trades", silver_rows(of_a_day))
    run(Tiers.open(settings), layers=("silver",))
    late = of_a_day.head(1).with_columns(
        pl.lit("7").alias("trade_id"), pl.lit(99_999_999, pl.UInt64).alias("offset"), pl.lit(ARRIVAL).alias("arrived")
    )
    late = late.with_columns(pl.col("arrived").dt.cast_time_unit("us") + timedelta(hours=9))
    store = Meddling(settings, when, lambda: hot.insert("silver_trades", silver_rows(late)))
    report = close_gate(Tiers.open(settings, store), drop=True, tables=["silver_trades"], now=LATER)
    assert hot.count("silver_trades WHERE trade_id = '7'") == 1
    assert len(report.held) == (1 if when == "before" else 0)
    # Once the late trade is in Iceberg, it may go too.
    run(Tiers.open(settings), layers=("silver",))
    close_gate(Tiers.open(settings), drop=True, tables=["silver_trades"], now=LATER)
    assert hot.count("silver_trades") == 0
    assert read(settings, BY_NAME["silver_trades"]).height == of_a_day.height + 1


def test_a_gate_that_died_after_the_move_is_finished_by_the_next(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("silver_trades", silver_rows(trades))

    class DiedError(Exception):
        pass

    def die() -> None:
        raise DiedError

    run(Tiers.open(settings), layers=("silver",))
    with pytest.raises(DiedError):
        close_gate(
            Tiers.open(settings, Meddling(settings, "after", die)), drop=True, tables=["silver_trades"], now=LATER
        )
    moved = hot.count("silver_trades_leaving")
    assert moved
    assert hot.count("silver_trades") == trades.height - moved
    close_gate(Tiers.open(settings), drop=True, tables=["silver_trades"], now=LATER)
    assert hot.count("silver_trades") == hot.count("silver_trades_leaving") == 0
    assert read(settings, BY_NAME["silver_trades"]).height == trades.height


def _published_before(rows: pl.DataFrame) -> pl.DataFrame:
    """The same raw messages: their Kafka timestamps are those of six hours before."""
    return rows.with_columns(pl.col("published_at") - timedelta(hours=6))


def test_repeated_rejections_are_confirmed_by_the_later_window(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    """A batch that was validated again an hour later: one row in the hot table after the merge, two in Iceberg."""
    hot.load_left_out(trades)
    run(Tiers.open(settings), layers=("duplicates", "dlq"))
    again = trades.head(100).with_columns(pl.col("arrived") + timedelta(hours=6))
    hot.insert("duplicate_trades", _published_before(duplicate_rows(again)))
    hot.insert("dlq_trades_log", _published_before(dead_letter_rows(again)))
    run(Tiers.open(settings), layers=("duplicates", "dlq"))
    for table in ("duplicate_trades", "dlq_trades_log"):
        hot.client.command(f"OPTIMIZE TABLE {table} FINAL")
    checked = verify(Tiers.open(settings), layers=("duplicates", "dlq"))
    assert checked.ok
    assert [table.superseded for table in checked.tables] == [100, 100]
    report = close_gate(Tiers.open(settings), drop=True, tables=["duplicate_trades", "dlq_trades_log"], now=LATER)
    assert not report.held
    assert hot.count("duplicate_trades") == hot.count("dlq_trades_log") == 0
    assert read(settings, BY_NAME["dlq_trades"]).height == trades.height + 100


@pytest.mark.nightly
def test_merged_bronze_rows_are_confirmed_by_the_later_window(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    """A message redelivered in a later hour: two cold rows, one hot row after the merge."""
    layers: tuple[Layer, ...] = ("raw", "bronze")
    hot.load(trades)
    run(Tiers.open(settings), layers=layers)
    again = trades.with_columns(pl.col("arrived") + timedelta(hours=6))
    hot.load(again.head(100))
    run(Tiers.open(settings), layers=layers)
    hot.client.command("OPTIMIZE TABLE bronze_trades FINAL")
    assert hot.count("bronze_trades") == trades.height
    assert read(settings, BY_NAME["bronze_trades"]).height == trades.height + 100
    assert verify(Tiers.open(settings), layers=("bronze",)).ok
    close_gate(Tiers.open(settings), drop=True, tables=["bronze_trades"], now=LATER)
    assert hot.count("bronze_trades") == 0
