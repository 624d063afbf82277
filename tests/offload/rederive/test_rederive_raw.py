"""Bronze is made again from cold Raw by the SQL of the live view, and Silver and Gold follow."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.bronze import BronzeRederivation, HotBronze
from offload.rederive.from_raw import rederive_from_raw
from offload.run import run
from offload.tables.cold_tables import BY_NAME
from tests.offload.cold_tables import load, read
from tests.offload.hot_tables import HotTables, of_one_hour, raw_rows, read_tape, silver_rows
from tests.offload.rederive.rederiving import FROM, HIGH, assert_is, limited

DAY_AFTER = FROM + timedelta(days=1)
BRONZE = BY_NAME["bronze_trades"]


@pytest.fixture
def posted(settings: Settings, brokers: str, tmp_path: Path) -> Settings:
    """The settings with a broker for the dead letters, and a registry that lets everything through."""
    settings = settings.model_copy(update={"kafka_bootstrap_servers": brokers})
    return limited(settings, tmp_path, 1000 * HIGH)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).filter(pl.col("time").dt.day() == 8).gather_every(32))


def bronze_of(settings: Settings) -> pl.DataFrame:
    return read(settings, BRONZE).sort("raw_offset")


def modify_view(hot: HotTables, old: str, new: str) -> None:
    """The live view's SQL with another expression."""
    query = "SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = 'bronze_trades_mv'"
    text = str(hot.client.query(query).result_rows[0][0])
    assert text.count(old) == 1, text
    hot.client.command(f"ALTER TABLE bronze_trades_mv MODIFY QUERY {text.replace(old, new)}")


@pytest.mark.nightly
def test_unchanged_sql_changes_nothing(posted: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades)
    run(Tiers.open(posted))
    before = load(posted, BRONZE).current_snapshot()
    report = rederive_from_raw(Tiers.open(posted), FROM, DAY_AFTER, exchange="binance")
    assert sum(hour.rows for hour in report.bronze) == trades.height
    assert {(hour.added, hour.removed, hour.altered) for hour in report.bronze} == {(0, 0, 0)}
    assert load(posted, BRONZE).current_snapshot() == before


def test_a_mended_view_mends_bronze_silver_and_gold(posted: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """The view cut the last character of every price of one symbol; rows of the other exchange stay as they are."""
    price = "substringUTF8(raw.price, 1, longest)"
    broken = f"if(raw.symbol = 'ETHUSDT', substring({price}, 1, length({price}) - 1), {price})"
    modify_view(hot, f"{price} AS price_text", f"{broken} AS price_text")
    cut = pl.col("price").str.slice(0, pl.col("price").str.len_chars() - 1)
    wrong = trades.with_columns(pl.when(pl.col("symbol") == "ETHUSDT").then(cut).otherwise("price").alias("price"))
    hot.insert("trades_raw", raw_rows(trades))
    hot.insert("silver_trades", silver_rows(wrong))
    run(Tiers.open(posted))
    # Recorded prices end in zeros: only the text differs, so only Bronze does.
    modify_view(hot, f"{broken} AS price_text", f"{price} AS price_text")
    ethereum = trades.filter(pl.col("symbol") == "ETHUSDT").height
    planned = rederive_from_raw(Tiers.open(posted), FROM, DAY_AFTER, exchange="binance", dry_run=True)
    assert sum(hour.altered for hour in planned.bronze) == ethereum
    assert bronze_of(posted)["price_text"].to_list() == wrong.sort("offset")["price"].to_list()
    done = rederive_from_raw(Tiers.open(posted), FROM, DAY_AFTER, exchange="binance")
    assert done.bronze == planned.bronze
    assert [day.model_copy(update={"published": ()}) for day in done.days] == list(planned.days)
    assert done.bronze_published == ("bronze_trades/20240808",)
    assert bronze_of(posted)["price_text"].to_list() == trades.sort("offset")["price"].to_list()
    shown = hot.client.query(
        "SELECT groupArray(price_text) FROM (SELECT * FROM bronze_trades FINAL ORDER BY raw_offset)"
    )
    assert shown.result_rows[0][0] == trades.sort("offset")["price"].to_list()
    assert_is(hot, posted, trades)
    again = rederive_from_raw(Tiers.open(posted), FROM, DAY_AFTER, exchange="binance")
    assert {(hour.added, hour.removed, hour.altered) for hour in again.bronze} == {(0, 0, 0)}
    assert again.bronze_published == ()


def test_what_0_2_left_undone_is_done(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """It noted a day whose hot Bronze, Silver and Gold lack rows of cold Bronze by other properties."""
    day_us = int(FROM.timestamp()) * 1_000_000
    hot.load(trades)
    tiers = Tiers.open(settings)
    run(tiers)
    hot.client.command("ALTER TABLE bronze_trades DELETE WHERE symbol = 'ETHUSDT' SETTINGS mutations_sync = 2")
    assert 0 < hot.count("bronze_trades") < trades.height
    with load(settings, BRONZE).transaction() as transaction:
        names = [f"medallion.{name}.{day_us}" for name in ("rebronzed", "rebronzed-silver", "silver-pending")]
        transaction.set_properties(dict.fromkeys(names, ""))
    bronze = BronzeRederivation(tiers)
    assert bronze.pending_days() == {day_us}
    assert HotBronze(tiers).replace_pending() == ["bronze_trades/20240808"]
    assert hot.count("bronze_trades") == trades.height
    bronze.clear_pending({day_us - 86_400_000_000})
    assert bronze.pending_days() == {day_us}, "another day is still to be done"
    bronze.clear_pending({day_us})
    assert not {name for name in load(settings, BRONZE).properties if name.endswith(str(day_us))}


@pytest.mark.nightly
def test_trades_whose_day_was_read_wrongly_move(posted: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """The view took times for a day later; Silver and Gold of both days follow."""
    right = "raw.ingested_at) AS timestamp"
    late = "raw.ingested_at) + toIntervalDay(1) AS timestamp"
    modify_view(hot, right, late)
    wrong = trades.with_columns(pl.col("time") + pl.duration(days=1))
    hot.insert("trades_raw", raw_rows(trades))
    hot.insert("silver_trades", silver_rows(wrong))
    run(Tiers.open(posted))
    modify_view(hot, late, right)
    # The day to which they belong has no rows yet; its rows are found through the day where they are.
    report = rederive_from_raw(
        Tiers.open(posted), FROM + timedelta(days=1), FROM + timedelta(days=2), exchange="binance"
    )
    assert sum(hour.altered for hour in report.bronze) == trades.height
    moved = {day.day: (day.added, day.removed) for day in report.days}
    assert moved == {"2024-08-08": (trades.height, 0), "2024-08-09": (0, trades.height)}
    # The day they move to has never left the hot tables: it is hot from now on.
    assert_is(hot, posted, trades)
    silver = read(posted, BY_NAME["silver_trades"]).sort("raw_offset")
    assert silver["timestamp"].to_list() == trades.sort("offset")["time"].to_list()
    assert read(posted, BY_NAME["gold_ohlcv_1m"])["trade_count"].sum() == trades.height
    assert bronze_of(posted)["timestamp"].to_list() == trades.sort("offset")["time"].to_list()
