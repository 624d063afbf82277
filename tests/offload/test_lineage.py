"""The counting proof finds what is missing or in several places; a redelivery counts once (invariant 1)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from offload.hot import ClickHouseHttp
from offload.lineage import LineageCount, count_lineage, find_missing, stream_lineage
from tests.offload.hot_tables import ARRIVAL, HotTables, raw_rows, read_tape, silver_rows

COORDINATES = ("raw_topic", "raw_partition", "raw_offset", "published_at")


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    # One exchange symbol that Silver writes otherwise: the proof goes by the exchange's own.
    return read_tape(tape).head(3000).with_columns(pl.lit("BTC-USD").alias("symbol"))


def _duplicates(trades: pl.DataFrame) -> pl.DataFrame:
    columns = ("exchange", "symbol", "trade_id", "timestamp", *COORDINATES, "bronze_partition", "bronze_offset")
    return silver_rows(trades).select(*columns, "insert_token")


def _rejects(trades: pl.DataFrame, reason: str) -> pl.DataFrame:
    columns = ("exchange", "symbol", "trade_id", *COORDINATES, "ingested_at")
    return silver_rows(trades).select(
        *columns, pl.col("ingested_at").alias("rejected_at"), pl.lit(reason).alias("reason")
    )


def _split(hot: HotTables, trades: pl.DataFrame) -> None:
    """Of ten messages: eight to Silver, one a duplicate, one rejected."""
    digit = pl.col("offset") % 10
    hot.insert("trades_raw", raw_rows(trades))
    silver = silver_rows(trades.filter(digit < 8)).with_columns(pl.lit("BTCUSD").alias("symbol"))
    hot.insert("silver_trades", silver)
    hot.insert("duplicate_trades", _duplicates(trades.filter(digit == 8)))
    hot.insert("dlq_trades_log", _rejects(trades.filter(digit == 9), "side_invalid"))


def _total(counts: list[LineageCount]) -> dict[str, int]:
    names = ("raw", "silver", "duplicates", "dlq", "missing", "in_several", "redelivered")
    return {name: sum(getattr(count, name) for count in counts) for name in names}


def test_every_message_is_in_exactly_one_place(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    _split(hot, trades)
    counts = count_lineage(ClickHouseHttp(settings))
    assert all(count.holds for count in counts)
    assert {(count.exchange, count.symbol) for count in counts} == {("binance", "BTC-USD")}
    assert [count.hour for count in counts] == [ARRIVAL + timedelta(hours=hour) for hour in range(3)]
    digit = trades["offset"] % 10
    assert _total(counts) == {
        "raw": 3000,
        "silver": int((digit < 8).sum()),
        "duplicates": int((digit == 8).sum()),
        "dlq": int((digit == 9).sum()),
        "missing": 0,
        "in_several": 0,
        "redelivered": 0,
    }


def test_a_missing_message_is_counted_and_named(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    _split(hot, trades)
    lost = trades.tail(4).with_columns(pl.col("offset") + 50_000)
    hot.insert("trades_raw", raw_rows(lost))
    store = ClickHouseHttp(settings)
    counts = count_lineage(store)
    assert _total(counts)["missing"] == 4
    assert {message.raw_offset for message in find_missing(store)} == set(lost["offset"])
    hours = {count.hour for count in counts if not count.holds}
    assert hours == set(lost["arrived"].dt.truncate("1h"))


def test_a_message_in_two_places_or_twice_in_silver_breaks_the_proof(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    _split(hot, trades)
    silver_ones = trades.filter(pl.col("offset") % 10 == 0)
    hot.insert("dlq_trades_log", _rejects(silver_ones.head(3), "price_missing"))
    hot.insert("silver_trades", silver_rows(silver_ones.slice(3, 2)))
    counts = count_lineage(ClickHouseHttp(settings))
    assert _total(counts)["in_several"] == 5
    assert not all(count.holds for count in counts)


def test_redelivery_repeated_rejects_and_duplicates_count_once(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    _split(hot, trades)
    before = _total(count_lineage(ClickHouseHttp(settings)))
    digit = pl.col("offset") % 10
    # Kafka delivers again, in a later hour, under the same coordinates; the processor repeats its verdicts.
    hot.insert("trades_raw", raw_rows(trades).with_columns(pl.col("ingested_at") + timedelta(hours=7)))
    hot.insert("duplicate_trades", _duplicates(trades.filter(digit == 8)))
    hot.insert("dlq_trades_log", _rejects(trades.filter(digit == 9), "side_invalid"))
    counts = count_lineage(ClickHouseHttp(settings))
    assert _total(counts) == {**before, "redelivered": 3000}
    assert {count.hour for count in counts} == {ARRIVAL + timedelta(hours=hour) for hour in range(3)}


def test_a_span_counts_only_its_own_messages(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    _split(hot, trades)
    counts = count_lineage(ClickHouseHttp(settings), ARRIVAL + timedelta(hours=1), ARRIVAL + timedelta(hours=2))
    assert {count.hour for count in counts} == {ARRIVAL + timedelta(hours=1)}
    assert _total(counts)["raw"] == 1000
    assert _total(counts)["missing"] == 0


def test_the_proof_is_the_same_in_pieces(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """Chunks of an hour, with messages lost in one hour and delivered again in another."""
    _split(hot, trades)
    hot.insert("trades_raw", raw_rows(trades.tail(4).with_columns(pl.col("offset") + 50_000)))
    hot.insert("trades_raw", raw_rows(trades).with_columns(pl.col("ingested_at") + timedelta(hours=1)))
    store = ClickHouseHttp(settings)
    whole = list(stream_lineage(store))
    pieces = list(stream_lineage(store, chunk_rows=1))
    assert len(pieces) == len(whole) == 3
    assert sorted(pieces, key=lambda count: count.hour) == sorted(whole, key=lambda count: count.hour)
    assert _total(pieces)["missing"] == 4
