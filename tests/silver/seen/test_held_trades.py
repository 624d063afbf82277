"""The index and its look-ups against the real engine: loaded in part, asked for the rest, exact throughout."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest

from config.settings import Settings
from schemas.records import SILVER
from silver_processor.batching.batch import Message, validate, with_insert_columns
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.versions import versions_of
from silver_processor.retry import RetryPolicy
from silver_processor.seen import held_trades
from silver_processor.seen.by_market import by_market
from silver_processor.seen.held_trades import HeldTrades
from silver_processor.seen.index import SeenTrades, Split
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables
from tests.silver.bronze import RULES, bronze

START = datetime(2024, 8, 8, tzinfo=UTC)
AWKWARD = ["it's", "back\\slash", "%(ids)s", "{a:String}", "\\t\\n", 'quo"te', "`~|", "\\xff", "007"]


@pytest.fixture(scope="module")
def settings(http_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a database with every table, on the node that all folders share."""
    tables = HotTables(new_settings(http_port, tmp_path_factory.mktemp("held")))
    yield tables.settings
    tables.give_back()


@pytest.fixture
def clickhouse(settings: Settings) -> ClickHouse:
    return ClickHouse(settings, RetryPolicy(threading.Event()))


@pytest.fixture
def silver_trades(clickhouse: ClickHouse) -> HeldTrades:
    return HeldTrades(clickhouse)


def split_of(index: SeenTrades, rows: pa.Table, excluded_token: str = "") -> Split:
    return index.split(rows, by_market(rows), excluded_token)


def silver(symbol: str, ids: list[str], token: str, first: int = 0) -> pa.Table:
    """Silver rows, a minute apart; the n-th of all has offset and minute `first` + n."""
    rows = bronze(
        [
            {
                "symbol": symbol,
                "trade_id": trade_id,
                "raw_offset": first + place,
                "timestamp": START + timedelta(minutes=first + place),
            }
            for place, trade_id in enumerate(ids)
        ]
    )
    validated = validate([Message(0, 0, 0, rows)], "bronze", RULES, START)
    return with_insert_columns(validated.valid, token, START)


@pytest.mark.parametrize("kind", ["numeric", "hashed", "mixed"])
def test_an_index_that_holds_the_newest_ids_knows_all_of_them(
    clickhouse: ClickHouse, silver_trades: HeldTrades, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariants 2 and 8: whatever is loaded, a trade that Silver holds is a duplicate, and no other one is."""
    monkeypatch.setattr(held_trades, "LOADED_IDS", 40)
    monkeypatch.setattr(held_trades, "_IDS_A_QUERY", 30)
    symbol = {"numeric": "BTCUSDT", "hashed": "ETHUSDT", "mixed": "SHIBUSDT"}[kind]
    numeric = [str(5_000 + 7 * n) for n in range(300)]
    hashed = [*AWKWARD, *(str(uuid.UUID(int=n)) for n in range(291))]
    ids = {"numeric": numeric, "hashed": hashed, "mixed": [*numeric[:150], *hashed[:150]]}[kind]
    held = silver(symbol, ids, kind)
    clickhouse.insert("silver_trades", held, kind)
    index = SeenTrades(silver_trades.overlapping)
    silver_trades.load([("binance", symbol)], index.load)
    assert 0 < index.ids <= 41
    # Ids beside each one that is held, at the same times, and one of the future.
    others = silver(symbol, [f"{trade_id}9" for trade_id in ids], "second")
    newer = silver(symbol, ["1"], "second", first=400)
    split = split_of(index, pa.concat_tables([held, others, newer]))
    assert split.duplicates["trade_id"].to_pylist() == ids
    assert split.fresh.num_rows == len(ids) + 1


def test_the_rows_of_an_insert_in_doubt_do_not_count(
    clickhouse: ClickHouse, silver_trades: HeldTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the same block could not be made again, and Gold would miss what the crash left out."""
    monkeypatch.setattr(held_trades, "LOADED_IDS", 5)
    ids = [f"x{n}" for n in range(40)]
    done, doubtful = silver("WIDEUSDT", ids[:20], "done"), silver("WIDEUSDT", ids[20:], "doubt", first=20)
    clickhouse.insert("silver_trades", done, "done")
    clickhouse.insert("silver_trades", doubtful, "doubt")
    index = SeenTrades(silver_trades.overlapping)
    silver_trades.load([("binance", "WIDEUSDT")], index.load, excluded_token="doubt")
    split = split_of(index, pa.concat_tables([done, doubtful]), excluded_token="doubt")
    assert (split.fresh["trade_id"].to_pylist(), split.duplicates["trade_id"].to_pylist()) == (ids[20:], ids[:20])


def test_markets_met_together_are_asked_about_together(
    clickhouse: ClickHouse, silver_trades: HeldTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two questions for markets with few rows, whatever they are called; one with many is asked about alone."""
    few, many = [*AWKWARD, "none"], "many"
    rows = [silver("BTCUSDT", [f"m{n}" for n in range(count)], "met") for count in [1] * len(AWKWARD) + [0, 60]]
    markets = [("binance", symbol) for symbol in (*few, many)]
    named = [
        one.set_column(1, "symbol", pa.array([symbol] * one.num_rows, pa.string()))
        for one, (_, symbol) in zip(rows, markets, strict=True)
    ]
    held = pa.concat_tables(named).cast(SILVER)
    clickhouse.insert("silver_trades", held, "met")
    asked: list[str] = []
    ask, stream = clickhouse.select, clickhouse.read_blocks
    monkeypatch.setattr(clickhouse, "select", lambda query, *a, **k: (asked.append(query), ask(query, *a, **k))[1])
    monkeypatch.setattr(clickhouse, "read_blocks", lambda query, *a: (asked.append(query), stream(query, *a))[1])
    index = SeenTrades(silver_trades.overlapping)
    silver_trades.load(markets, index.load)
    assert len(asked) == 2
    assert split_of(index, held).duplicates.num_rows == held.num_rows == len(AWKWARD) + 60
    assert (index.markets, index.ids) == (len(markets), held.num_rows)
    monkeypatch.setattr(held_trades, "LOADED_IDS", 40)
    index = SeenTrades(silver_trades.overlapping)
    silver_trades.load(markets, index.load)
    assert (index.markets, index.ids) == (len(markets), len(AWKWARD) + 40)
    assert split_of(index, held).duplicates.num_rows == held.num_rows, "the others are asked of Silver"


def test_what_silver_holds_of_a_trade_is_found_at_its_time_and_at_any_other(
    clickhouse: ClickHouse, silver_trades: HeldTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each id asked for, and no other one, with the coordinates of the message; whatever the ids look like."""
    monkeypatch.setattr(held_trades, "_ID_BYTES_A_QUERY", 200)
    ids = [*AWKWARD, *(f"c{n}" for n in range(41))]
    held = silver("BTCUSDT", ids, "versions", first=1_000)
    clickhouse.insert("silver_trades", held, "versions")
    moved = pl.DataFrame(silver("BTCUSDT", ids, "x", first=2_000)).with_columns(
        pl.col("timestamp") + pl.duration(days=pl.int_range(pl.len()) % 3)
    )
    absent = silver("BTCUSDT", ["not-there"], "x", first=3_000)
    asked = pa.concat_tables([moved.to_arrow().cast(held.schema), held.slice(0, 5), absent])
    found = silver_trades.versions(asked)
    assert found.sort("raw_offset").equals(versions_of(pl.DataFrame(held)).sort("raw_offset"))
    assert not silver_trades.corrections(asked).height
    assert silver_trades.corrected_markets(["binance"]) == []


def test_a_match_is_found_in_the_sum_that_has_it(clickhouse: ClickHouse, silver_trades: HeldTrades) -> None:
    """Under the id that was asked for; no other id near the sum is found."""
    one = pl.DataFrame(silver("SHIBUSDT", ["105"], "sum")).with_columns(match_count=pl.lit(3, pl.UInt32))
    clickhouse.insert("silver_trades", one.to_arrow().cast(SILVER), "sum")
    asked = silver("SHIBUSDT", ["102", "103", "104", "105", "106", "x", "00104"], "y", first=2_000)
    found = silver_trades.versions(asked).sort("trade_id")
    assert found["trade_id"].to_list() == ["103", "104", "105"]
    assert found["match_count"].to_list() == [3, 3, 3]
    assert found["raw_offset"].to_list() == one["raw_offset"].to_list() * 3


def test_a_match_is_found_in_its_sum_at_both_ends_of_the_numbers(
    clickhouse: ClickHouse, silver_trades: HeldTrades
) -> None:
    """From the first id to the highest one below 2^64, and beside a sum of an older version whose id is no number."""
    highest = 2**64 - 1
    rows = pl.DataFrame(silver("WIDEUSDT", ["1", "old", str(highest)], "ends"))
    counted = rows.with_columns(match_count=pl.lit(2, pl.UInt32))
    clickhouse.insert("silver_trades", counted.to_arrow().cast(SILVER), "ends")
    within = ["0", "1", str(highest - 1), str(highest)]
    outside = ["2", str(highest - 2), str(highest + 1), "9" * 20]
    found = silver_trades.versions(silver("WIDEUSDT", within + outside, "y", first=2_000))
    assert set(found["trade_id"]) == set(within)


def test_corrections_are_found_and_the_latest_counts(clickhouse: ClickHouse, silver_trades: HeldTrades) -> None:
    first, second = (pl.DataFrame(silver("ETHUSDT", ["k", "l"], "corrections", first=offset)) for offset in (0, 50))
    for number, rows in enumerate((first, second)):
        noted = versions_of(rows).with_columns(
            old_timestamp=pl.col("timestamp"),
            accepted_at=pl.lit(START),
            is_applied=pl.lit(0, pl.UInt8),
            noted_at=pl.lit(START + timedelta(seconds=number)),
        )
        clickhouse.insert("corrections", noted.to_arrow(compat_level=pl.CompatLevel.oldest()), f"{number}")
    assert silver_trades.corrected_markets(["binance", "kraken"]) == [("binance", "ETHUSDT")]
    assert silver_trades.corrected_markets(["kraken"]) == []
    assert silver_trades.corrections(first.head(1).to_arrow())["raw_offset"].to_list() == [50]
