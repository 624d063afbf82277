"""The counting proof finds what is missing or in several places; a redelivery counts once (invariant 1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.proof.counts import (
    LineageCount,
    count_lineage,
    find_gone,
    find_missing,
    find_not_in_raw,
    find_overlaps,
    stream_lineage,
)
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import Layer
from tests.offload.hot_tables import ARRIVAL, HotTables, raw_rows, read_tape, silver_rows
from tests.offload.retention.test_gate import LATER

# What the proof counts.
LAYERS: tuple[Layer, ...] = ("raw", "silver", "duplicates", "dlq")
COORDINATES = ("raw_topic", "raw_partition", "raw_offset", "published_at")


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    # One exchange symbol that Silver writes otherwise: the proof goes by the exchange's own.
    return read_tape(tape).head(600).with_columns(pl.lit("BTC-USD").alias("symbol"))


def _duplicates(trades: pl.DataFrame) -> pl.DataFrame:
    columns = ("exchange", "symbol", "trade_id", "timestamp", *COORDINATES, "bronze_partition", "bronze_offset")
    return silver_rows(trades).select(*columns, "insert_token", pl.col("ingested_at").alias("seen_at"))


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
        "raw": 600,
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


def test_what_raw_lacks_is_counted_and_named(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """Whether the first, the last or one between; of Silver, a duplicate, a dead letter. A last minute is not over."""
    _split(hot, trades)
    gone = trades.filter(pl.col("offset").is_in([0, 8, 19, 303, 599]))
    offsets = ", ".join(map(str, gone["offset"]))
    hot.client.command(f"ALTER TABLE trades_raw DELETE WHERE _offset IN ({offsets}) SETTINGS mutations_sync = 2")
    # About a message of the Bronze topic, which is none of Raw.
    unreadable = _rejects(trades.head(1), "bronze_unreadable")
    hot.insert("dlq_trades_log", unreadable.with_columns(raw_topic=pl.lit("market.crypto.trades.bronze")))
    just_now = pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC")).alias("arrived")
    hot.insert("silver_trades", silver_rows(trades.tail(1).with_columns(just_now, pl.col("offset") + 90_000)))
    store = ClickHouseHttp(settings)
    counts = count_lineage(store)
    assert _total(counts)["raw"] == 595
    assert (_total(counts)["missing"], sum(count.not_in_raw for count in counts)) == (0, 5)
    assert {count.hour for count in counts if not count.holds} == set(gone["arrived"].dt.truncate("1h"))
    found = find_not_in_raw(store)
    assert {(one.raw_offset, one.trade_id) for one in found} == set(gone.select("offset", "trade_id").rows())
    assert {(one.exchange, one.symbol) for one in found} == {("binance", "BTC-USD")}


def test_offsets_that_raw_passed_over_are_named(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """Between blocks of a hundred and within one. A broker that begins anew and a redelivery pass over nothing."""
    offset, block = pl.col("offset"), pl.col("offset") // 100
    numbered = trades.head(600).with_columns(pl.int_range(600, dtype=pl.UInt64).alias("offset"))
    blocks = numbered.with_columns(
        (pl.lit(ARRIVAL).dt.cast_time_unit("us") + pl.duration(seconds=block)).alias("arrived")
    )
    read = blocks.filter(~offset.is_between(250, 259) & ~offset.is_between(380, 519))
    later = pl.duration(hours=1)
    anew = blocks.head(200).with_columns(pl.col("arrived") + later)
    again = blocks.filter(offset.is_between(150, 299)).with_columns(pl.col("arrived") + later + later)
    hot.insert("trades_raw", raw_rows(pl.concat([read, anew, again])))
    found = find_gone(ClickHouseHttp(settings))
    seen = [(one.raw_topic, one.raw_partition, one.first_offset, one.last_offset, one.messages) for one in found]
    topic = "market.crypto.trades.binance.raw"
    assert seen == [(topic, 0, 200, 299, 10), (topic, 0, 380, 519, 140)]
    assert found[1].arrived_at == ARRIVAL + timedelta(seconds=5)
    assert find_gone(ClickHouseHttp(settings), at_most=1) == found[:1]
    assert find_gone(ClickHouseHttp(settings), ARRIVAL + timedelta(hours=1)) == []


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


@pytest.mark.parametrize("last", [3, 9_300_000_000_000_000_000, 2**64 - 4])
def test_a_match_that_two_trades_count_is_named_and_no_other(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, last: int
) -> None:
    """Of a sum of three matches and the single ones before, behind and in it; however large the ids are."""
    store = ClickHouseHttp(settings)
    rows = silver_rows(trades.head(5)).with_columns(match_count=pl.Series([1, 3, 1, 1, 1], dtype=pl.UInt32))
    apart = pl.Series(map(str, [last - 3, last, last + 1, last + 3]))
    hot.insert("silver_trades", rows.head(4).with_columns(trade_id=apart))
    assert find_overlaps(store) == []
    hot.insert("silver_trades", rows.tail(1).with_columns(trade_id=pl.lit(str(last - 1))))
    assert [(overlap.trades, overlap.trade_id) for overlap in find_overlaps(store)] == [(1, str(last))]


@pytest.mark.parametrize("matches", [1, 3])
def test_an_id_that_silver_has_twice_is_named(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, matches: int
) -> None:
    """From two messages, with a number or without; also in a market that has a sum of matches."""
    store = ClickHouseHttp(settings)
    rows = silver_rows(trades.filter(pl.col("symbol") == trades["symbol"][0]).head(5))
    counts = pl.Series([matches, 1, 1, 1, 1], dtype=pl.UInt32)
    rows = rows.with_columns(match_count=counts, trade_id=pl.Series(["70", "80", "b", "b", "c"]))
    hot.insert("silver_trades", rows)
    assert [(overlap.trades, overlap.trade_id) for overlap in find_overlaps(store)] == [(1, "b")]
    hot.insert("silver_trades", rows.head(2).tail(1).with_columns(raw_offset=pl.col("raw_offset") + 1_000))
    assert [overlap.trades for overlap in find_overlaps(store)] == [2]


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
    assert _total(counts) == {**before, "redelivered": 600}
    assert {count.hour for count in counts} == {ARRIVAL + timedelta(hours=hour) for hour in range(3)}


def test_a_span_counts_only_its_own_messages(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    _split(hot, trades)
    counts = count_lineage(ClickHouseHttp(settings), ARRIVAL + timedelta(hours=1), ARRIVAL + timedelta(hours=2))
    assert {count.hour for count in counts} == {ARRIVAL + timedelta(hours=1)}
    assert _total(counts)["raw"] == 200
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


# Of the fast tier: test_a_raw_partition_that_left_with_the_others_hot.
@pytest.mark.nightly
def test_hours_that_left_are_counted_in_iceberg(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """The same counts whichever partitions are hot, with messages lost, doubled, resolved and delivered again."""
    trades = trades.filter(pl.col("arrived") < ARRIVAL + timedelta(hours=2))
    _split(hot, trades)
    digit = pl.col("offset") % 10
    rejected = trades.filter(digit == 9)
    # Resolved: a reject that was sent again and is in Silver now.
    resolved = rejected.head(5)
    silver = silver_rows(resolved).with_columns(pl.lit("BTCUSD").alias("symbol"))
    hot.insert("silver_trades", silver)
    note = silver.select(
        *COORDINATES, "exchange", "symbol", "timestamp", pl.lit("silver").alias("landed"), is_confirmed=pl.lit(1)
    )
    hot.insert("dlq_replays", note.with_columns(pl.col("is_confirmed").cast(pl.UInt8)))
    hot.insert("trades_raw", raw_rows(trades.tail(4).with_columns(pl.col("offset") + 50_000)))
    again = raw_rows(trades.head(100)).with_columns(pl.col("ingested_at") + timedelta(days=1))
    hot.insert("trades_raw", again)
    not_in_raw = silver_rows(trades.head(3).with_columns(pl.col("offset") + 90_000, trade_id=pl.lit("7")))
    hot.insert("silver_trades", not_in_raw)
    doubled = silver_rows(trades.filter(digit == 0).head(2))
    hot.insert("silver_trades", doubled.with_columns(pl.lit("BTCUSD").alias("symbol")))
    store = ClickHouseHttp(settings)
    before = count_lineage(store)
    total = _total(before)
    assert (total["raw"], total["missing"], total["in_several"], total["redelivered"]) == (trades.height + 4, 4, 2, 100)
    assert sum(count.not_in_raw for count in before) == 3
    run(Tiers.open(settings), layers=LAYERS)
    tables = ensure_tables(open_catalog(settings), settings.iceberg_namespace)
    start = ARRIVAL - timedelta(days=1)
    lost, without_raw = find_missing(store, start), find_not_in_raw(store, start)
    assert len(without_raw) == 3
    # Hour by hour, and all at once.
    for gone, chunk_rows in (
        (("trades_raw",), 1),
        (("silver_trades",), 2_000_000),
        (("duplicate_trades", "dlq_trades_log"), 1),
    ):
        report = close_gate(Tiers.open(settings), drop=True, tables=gone, now=LATER)
        assert [verdict for verdict in report.verdicts if verdict.state != "dropped"] == []
        counts = list(stream_lineage(store, start, chunk_rows=chunk_rows, tables=tables))
        order = {"key": lambda count: (count.hour, count.symbol)}
        assert sorted(counts, **order) == sorted(before, **order), gone
        assert find_missing(store, start, tables=tables) == lost
        assert find_not_in_raw(store, start, tables=tables) == without_raw
    assert list(stream_lineage(store, tables=tables)) == [], "nothing is hot, and no time was given"


def test_a_raw_partition_that_left_with_the_others_hot(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    """A message that was first delivered on a day that has left, and again on one that is hot."""
    _split(hot, trades)
    run(Tiers.open(settings), layers=LAYERS)
    close_gate(Tiers.open(settings), drop=True, tables=("trades_raw",), now=LATER)
    hot.insert("trades_raw", raw_rows(trades).with_columns(pl.col("ingested_at") + timedelta(days=1)))
    tables = ensure_tables(open_catalog(settings), settings.iceberg_namespace)
    store = ClickHouseHttp(settings)
    counts = list(stream_lineage(store, ARRIVAL, tables=tables))
    assert _total(counts)["raw"] == _total(counts)["redelivered"] == 600
    assert {count.hour.date() for count in counts} == {ARRIVAL.date()}
    assert all(count.holds for count in counts)
