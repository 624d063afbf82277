"""A limit in the registry changes, and Silver and Gold follow in both tiers, by the live rules (scenario 1)."""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.errors import DiskSpaceError
from offload.pins import Pins
from offload.proof.verify import verify
from offload.rederive.run import RederiveError, rederive
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME
from offload.tables.slices import micros
from tests.offload.cold_tables import load, read
from tests.offload.hot_tables import ARRIVAL, HotTables, of_one_hour, raw_rows, read_tape, silver_rows
from tests.offload.rederive.rederiving import (
    FROM,
    HIGH,
    LOW,
    TO,
    Announcing,
    Reader,
    SlowReader,
    assert_is,
    day_of,
    fill,
    limited,
    of_exchange,
    seen_day,
    within,
)
from tests.offload.retention.test_gate import LATER

# A day without trades and the first of the two; the second stays as it is.
DAYS = (FROM - timedelta(days=1), FROM + timedelta(days=1))


@pytest.fixture
def settings(settings: Settings, brokers: str) -> Settings:
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers})


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    # Of one hour. Of the second day there are few.
    return of_one_hour(read_tape(tape)).filter((pl.col("offset") % 16 == 0) | (pl.col("time").dt.day() == 9))


# Of the fast tier: test_one_that_died_is_finished_by_the_next, and test_rederive_dead_letters.py.
@pytest.mark.nightly
@pytest.mark.parametrize(("before", "after"), [(LOW, HIGH), (HIGH, LOW)])
def test_a_changed_limit_is_followed(
    settings: Settings,
    hot: HotTables,
    trades: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Decimal,
    after: Decimal,
) -> None:
    other = of_exchange(trades.head(300), "binance_usdm")
    assert within(other, LOW).height < other.height
    fill(hot, trades, before)
    fill(hot, other, before)
    run(Tiers.open(settings))
    # Live rows that are not in Iceberg yet: of the same day, in a later hour.
    live = trades.filter(pl.col("symbol") == "ETHUSDT").head(2)
    live = live.with_columns(
        pl.format("9{}", "trade_id").alias("trade_id"),
        pl.lit(datetime.now(UTC)).dt.cast_time_unit("us").alias("arrived"),
    )
    hot.insert("silver_trades", silver_rows(live))
    Pins(ColdTier.open(settings)).create("before")
    new = limited(settings, tmp_path, after)
    first, second = (trades.filter(pl.col("time").dt.day() == day) for day in (8, 9))
    assert within(second, LOW).height < within(second, HIGH).height, "it would change, too, were it asked for"
    gained = within(first, HIGH).height - within(first, LOW).height
    assert gained > 40
    planned = rederive(Tiers.open(new), *DAYS, exchange="binance", dry_run=True)
    change = {"added": sum(day.added for day in planned), "removed": sum(day.removed for day in planned)}
    assert change == {"added": gained if after > before else 0, "removed": gained if after < before else 0}
    assert {day.altered for day in planned} == {day.unfounded for day in planned} == {0}
    assert all(count > 0 for day in planned for count in day.candles_altered.values())
    # A disk without room is said before anything changes: what follows finds everything as planned.
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(DiskSpaceError, match="Nothing was changed"):
            rederive(Tiers.open(new), *DAYS, exchange="binance")
    # Whoever reads meanwhile sees the old version or the new one, and the same in every table of one query.
    versions = [day_of(pl.concat([within(trades, limit), live])) for limit in (before, after)]
    reader, slow = Reader(hot), SlowReader(hot)

    def come() -> None:
        """To read costs as much as to publish, and before there is nothing to see."""
        assert set(seen_day(hot.client)) == {versions[0]}, "something changed before the publication"
        reading.enter_context(reader)

    with ExitStack() as reading:
        rebuilt = ("INSERT INTO gold_ohlcv_state", f"timestamp >= fromUnixTimestamp64Micro({micros(FROM)}")
        moments = {("OR REPLACE VIEW",): come, rebuilt: slow.start}
        done = rederive(Tiers.open(new, Announcing(new, moments)), *DAYS, exchange="binance")
    assert not reader.failed, reader.failed[:3]
    assert {value for answer in reader.seen for value in answer} == set(versions)
    mixed = [answer for answer in reader.seen if len(set(answer)) > 1]
    assert not mixed, f"{len(mixed)} of {len(reader.seen)} queries saw a mixture: {mixed[:3]}"
    # A query that begins while the candle states are deleted looks up some views only after they are there again.
    assert slow.answer() == [versions[1]] * 2
    assert [day.model_copy(update={"published": ()}) for day in done] == planned
    assert {table.partition("/")[0] for day in done for table in day.published} == {
        "silver_trades",
        STATE_TABLE,
    }
    # The offload finds nothing to do but the live rows, which are where they were.
    assert {part.outcome for part in run(Tiers.open(settings), end=ARRIVAL + timedelta(hours=3)).slices} == {
        "unchanged"
    }
    assert run(Tiers.open(settings), until_now=True).written("silver_trades") == 2
    assert_is(hot, settings, pl.concat([within(first, after), within(second, before), live, within(other, before)]))
    # The corrected version can be pinned.
    Pins(ColdTier.open(settings)).create("after")
    old = load(settings, BY_NAME["silver_trades"]).scan().use_ref("before").to_arrow()
    assert old.num_rows == within(trades, before).height + within(other, before).height


# Of the fast tier: test_rederive_raw.py (a mended view); test_rederive_candles.py has which rows are compared.
@pytest.mark.nightly
@pytest.mark.parametrize("symbol", ["BTCUSDTNEW", ""])
def test_a_renamed_market_is_in_both_tiers_under_its_new_name_only(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, symbol: str
) -> None:
    """A back-fill before the re-derivation has stored some trades under both names.

    `symbol`: only this market is re-derived, by its new name.
    """
    trades = within(trades.filter(pl.col("time").dt.day() == 8).head(200), HIGH)
    of_market = trades.filter(pl.col("symbol") == "BTCUSDT")
    fill(hot, trades, HIGH)
    named = pl.col("symbol").replace("BTCUSDT", "BTCUSDTNEW")
    again = of_market.head(20).with_columns(pl.col("offset") + 1_000_000)
    hot.insert("trades_raw", raw_rows(again))
    hot.insert("silver_trades", silver_rows(again).with_columns(named))
    run(Tiers.open(settings))
    new = limited(settings, tmp_path, HIGH)
    text = new.symbols_file.read_text().replace("canonical: BTCUSDT,", "canonical: BTCUSDTNEW,", 1)
    new.symbols_file.write_text(text)

    rederive(Tiers.open(new), *DAYS, exchange="binance", symbol=symbol)
    assert hot.count("silver_trades") == trades.height
    expected = sorted(trades.select(named, "trade_id").rows())
    held = hot.client.query("SELECT symbol, trade_id FROM silver_trades ORDER BY ALL").result_rows
    assert [*map(tuple, held)] == expected
    assert sorted(read(settings, BY_NAME["silver_trades"]).select("symbol", "trade_id").rows()) == expected
    counts = trades.group_by(named).len().sort("symbol").rows()
    for view in ("gold_ohlcv_1h", "gold_ohlcv_1h_all"):
        found = hot.client.query(f"SELECT symbol, sum(trade_count) FROM {view} GROUP BY symbol ORDER BY symbol")
        assert found.result_rows == counts, view
    assert verify(Tiers.open(settings), layers=("silver", "gold")).ok


# Its siblings: test_rederive_readers.py.
@pytest.mark.nightly
def test_live_rows_wait_for_the_publication_and_are_not_lost(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    """A writer that repeats failed inserts, as the Silver worker does, all the while."""
    fill(hot, trades, LOW)
    run(Tiers.open(settings))
    stop, written, refused = threading.Event(), 0, 0
    lives = HotTables.__new__(HotTables)
    lives.settings, lives._folder = settings, tmp_path / "live"
    lives._folder.mkdir()
    lives.client = lives._connect(settings.clickhouse_database)

    def write() -> None:
        nonlocal written, refused
        while not stop.is_set():
            now = pl.lit(datetime.now(UTC)).dt.cast_time_unit("us")
            name = pl.lit(f"9{written:012d}")
            row = trades.filter(pl.col("symbol") == "ETHUSDT").head(1)
            row = silver_rows(row.with_columns(name.alias("trade_id"), now.alias("arrived")))
            try:
                lives.insert("silver_trades", row)
                written += 1
            except DatabaseError as error:
                refused += "publishing" in str(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        rederive(Tiers.open(limited(settings, tmp_path, HIGH)), FROM, TO)
    finally:
        stop.set()
        writer.join()
    assert refused > 0
    assert written > 0
    total = within(trades, HIGH).height + written
    assert hot.count("silver_trades") == total
    for frame in load_layers().timeframes:
        assert int(str(hot.client.command(f"SELECT sum(trade_count) FROM {frame.view}"))) == total


class DiedError(Exception):
    """Stands for a SIGKILL at this statement."""


class Dying(ClickHouseHttp):
    """Dies when it is to send a statement."""

    def __init__(self, settings: Settings, at: str) -> None:
        super().__init__(settings)
        self._at, self._dead = at, False

    def command(self, sql: str, parameters: Parameters) -> None:
        # A dead process sends no more statements either.
        if self._dead or self._at in sql:
            self._dead = True
            raise DiedError
        super().command(sql, parameters)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("ADD CONSTRAINT", marks=pytest.mark.nightly),
        "silver_trades REPLACE PARTITION",
        pytest.param("ALTER TABLE gold_ohlcv_state", marks=pytest.mark.nightly),
    ],
)
def test_one_that_died_is_finished_by_the_next(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, at: str
) -> None:
    trades = trades.filter(pl.col("time").dt.day() == 8)
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    new = limited(settings, tmp_path, LOW)
    with pytest.raises(DiedError):
        rederive(Tiers.open(new, Dying(settings, at)), FROM, TO)
    rederive(Tiers.open(new), FROM, TO)
    assert_is(hot, settings, within(trades, LOW))


@pytest.mark.nightly
def test_one_that_died_between_iceberg_silver_and_gold_is_finished_by_the_next(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    new = limited(settings, tmp_path, LOW)

    def die(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr("offload.rederive.rewrite.replace_slices", die)
        with pytest.raises(DiedError):
            rederive(Tiers.open(new), FROM, TO)
    rederive(Tiers.open(new), FROM, TO)
    assert_is(hot, settings, within(trades, LOW))


# So does a day whose Silver has left: test_rederive_left.py.
@pytest.mark.nightly
def test_days_that_only_iceberg_holds_are_re_derived_there(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    close_gate(Tiers.open(settings), drop=True, now=LATER)
    report = rederive(Tiers.open(limited(settings, tmp_path, LOW)), FROM, TO)
    assert {day.published for day in report} == {()}
    silver = read(settings, BY_NAME["silver_trades"])
    assert silver.height == within(trades, LOW).height
    assert read(settings, BY_NAME["gold_ohlcv_1d"])["trade_count"].sum() == silver.height
    assert hot.count("silver_trades") == 0


# As one exchange leaves the other alone, above.
@pytest.mark.nightly
def test_one_symbol_leaves_the_other_alone(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    report = rederive(Tiers.open(limited(settings, tmp_path, LOW)), FROM, TO, symbol="ETHUSDT")
    assert {day.removed for day in report} == {0}
    assert hot.count("silver_trades") == within(trades, HIGH).height
    rederive(Tiers.open(limited(settings, tmp_path, LOW)), FROM, TO, symbol="BTCUSDT")
    assert_is(hot, settings, within(trades, LOW))


def test_today_is_refused(settings: Settings, hot: HotTables) -> None:
    now = datetime.now(UTC)
    with pytest.raises(RederiveError, match="Only days that are over"):
        rederive(Tiers.open(settings), now - timedelta(days=1), now)
