"""The index of seen trades: exact, deterministic, bounded."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silver_processor.core.refine import refine
from silver_processor.seen.by_market import by_market
from silver_processor.seen.id_sets import IdHashes, hash_ids
from silver_processor.seen.index import MarketNotLoadedError, SeenTrades
from tests.silver.bronze import MOMENT, RULES, bronze


def never(rows: pa.Table, _token: str) -> pa.Table:
    raise AssertionError(f"asked Silver for {rows.num_rows} rows although nothing was forgotten")


def valid(changes: Iterable[dict[str, Any]]) -> pa.Table:
    return refine(bronze(list(changes)), RULES).valid


def identities(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in ("exchange", "symbol", "trade_id")), strict=True))


def load_all(index: SeenTrades, table: pa.Table) -> None:
    index.load(index.unknown(by_market(table)))


NUMBERS = st.sampled_from(
    ["0", "1", "2", "10", str(2**32), str(2**63), str(2**64 - 1), str(2**64), "007", "7", "+7", " 7", "\u0667"]
)
UUIDS = st.integers(0, 5).map(lambda n: str(uuid.UUID(int=n << 64)))
IDS = NUMBERS | UUIDS | st.sampled_from(["a", "A", "a\x00", "\\xff"])
MARKETS_NAMED = [("binance", "BTCUSDT"), ("binance", "ETHUSDT"), ("kraken", "BTC/USD")]
MARKETS = st.sampled_from(MARKETS_NAMED)
BATCHES = st.lists(st.lists(st.tuples(MARKETS, IDS), max_size=12), max_size=6)


@given(BATCHES)
def test_fresh_rows_are_those_whose_identity_a_set_has_not_met(
    batches: list[list[tuple[tuple[str, str], str]]],
) -> None:
    """Invariant 2 against the plainest oracle: a Python set of (exchange, canonical symbol, trade_id)."""
    index, met = SeenTrades(never), set()
    for batch in batches:
        table = valid({"exchange": e, "symbol": s, "trade_id": i} for (e, s), i in batch)
        load_all(index, table)
        split = index.split(table, by_market(table))
        fresh, again = split.fresh, split.duplicates
        assert index.split(table, by_market(table)).fresh.equals(fresh), "split does not change the index"
        index.add(by_market(fresh))
        expected = []
        for identity in identities(table):
            if identity not in met:
                expected.append(identity)
            met.add(identity)
        assert sorted(identities(fresh)) == sorted(expected)
        assert fresh.num_rows + again.num_rows == table.num_rows


@given(st.lists(st.tuples(IDS, st.integers(0, 2), st.sampled_from(["", "1", "2"])), max_size=12), st.randoms())
def test_which_of_two_copies_is_kept_does_not_depend_on_their_order(
    rows: list[tuple[str, int, str]], shuffler: random.Random
) -> None:
    """Invariant 3: the kept copy is the first in (timestamp, sequence, trade_id, raw coordinates)."""
    table = valid(
        {"trade_id": i, "timestamp": MOMENT.replace(microsecond=at), "sequence": sequence} for i, at, sequence in rows
    )
    order = list(range(table.num_rows))
    shuffler.shuffle(order)
    kept = []
    for one in (table, table.take(pa.array(order, pa.int64()))):
        index = SeenTrades(never)
        load_all(index, one)
        kept.append(index.split(one, by_market(one)).fresh.sort_by("raw_offset"))
    assert kept[0].equals(kept[1])
    first = pl.DataFrame(table).sort("timestamp", "sequence", "raw_offset").unique("trade_id", keep="first")
    assert sorted(kept[0]["raw_offset"].to_pylist()) == sorted(first["raw_offset"].to_list())


@given(
    st.lists(
        st.lists(
            st.tuples(MARKETS, st.integers(1, 30).map(str) | IDS, st.sampled_from(["", "1", "3", "8"])), max_size=20
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_a_batch_of_many_markets_is_split_as_each_of_them_alone(
    batches: list[list[tuple[tuple[str, str], str, str]]], comes_in_order: bool
) -> None:
    """Numeric and other ids, single matches and sums, ascending as live trades are or not."""
    whole, alone = SeenTrades(never), {market: SeenTrades(never) for market in MARKETS_NAMED}
    for number, batch in enumerate(batches):
        rows = sorted(batch, key=lambda row: (len(row[1]), row[1])) if comes_in_order else batch
        table = valid(
            {"exchange": e, "symbol": s, "trade_id": i, "matches": m, "raw_offset": 100 * number + place}
            for place, ((e, s), i, m) in enumerate(rows)
        )
        load_all(whole, table)
        split = whole.split(table, by_market(table))
        whole.add(split.fresh_trades())
        parts = []
        for (exchange, symbol), index in alone.items():
            names = zip(table["exchange"].to_pylist(), table["exchange_symbol"].to_pylist(), strict=True)
            mine = table.filter(pa.array([name == (exchange, symbol) for name in names], pa.bool_()))
            load_all(index, mine)
            parts.append(index.split(mine, by_market(mine)))
            index.add(parts[-1].fresh_trades())
        for kind in ("fresh", "duplicates", "partly_known"):
            together, singly = getattr(split, kind), pa.concat_tables([getattr(part, kind) for part in parts])
            assert together.sort_by("raw_offset").equals(singly.sort_by("raw_offset").combine_chunks()), kind
        assert sorted(split.known_matches) == sorted(text for part in parts for text in part.known_matches)


def test_a_market_must_be_loaded_and_can_be_forgotten() -> None:
    index, table = SeenTrades(never), valid([{}])
    with pytest.raises(MarketNotLoadedError, match="binance:BTCUSDT"):
        index.split(table, by_market(table))
    assert index.unknown(by_market(table)) == [("binance", "BTCUSDT")]
    index.load([("binance", "BTCUSDT")], [table])
    assert index.split(table, by_market(table)).duplicates.num_rows == 1
    index.forget([("binance", "BTCUSDT")])
    assert index.unknown(by_market(table)) == [("binance", "BTCUSDT")]


def test_a_million_consecutive_ids_cost_next_to_nothing() -> None:
    index = SeenTrades(never)
    index.load([("binance", "BTCUSDT")])
    row = valid([{}]).select(["exchange", "symbol", "timestamp", "match_count"])
    ids = pl.int_range(3_000_000_000, 3_001_000_000, eager=True).cast(pl.String)
    columns = [pa.repeat(row[name][0], len(ids)) for name in row.column_names]
    table = pa.table([*columns, ids.to_arrow().cast(pa.string())], names=[*row.column_names, "trade_id"])
    index.add(by_market(table))
    assert index.memory_bytes < 3_000


def test_memory_is_bounded_over_markets() -> None:
    """Invariant 8: beyond the limit the markets not met for longest are forgotten and loaded again when met."""
    index, chosen = SeenTrades(never, max_bytes=1_000), random.Random(1)
    tables = {
        symbol: valid({"symbol": symbol, "trade_id": chosen.randbytes(16).hex()} for _ in range(40))
        for symbol in ("BTCUSDT", "ETHUSDT", "SHIBUSDT")
    }
    for table in tables.values():
        load_all(index, table)
        index.split(table, by_market(table))
        index.add(by_market(table))
        index.trim()
    assert index.memory_bytes <= 1_000
    assert index.unknown(by_market(tables["BTCUSDT"])) == [("binance", "BTCUSDT")]
    assert index.split(tables["SHIBUSDT"], by_market(tables["SHIBUSDT"])).duplicates.num_rows == 40


def test_text_ids_that_were_forgotten_are_asked_of_silver() -> None:
    """Exact beyond the bound: forgotten ids are still duplicates, newer ones are not asked about."""
    asked: list[int] = []
    stored: set[str] = set()

    def in_silver(rows: pa.Table, _token: str) -> pa.Table:
        asked.append(rows.num_rows)
        is_stored = pa.array([trade_id in stored for trade_id in rows["trade_id"].to_pylist()])
        return rows.select(["trade_id", "timestamp", "match_count"]).filter(is_stored)

    index = SeenTrades(in_silver, id_hashes_per_market=100)
    old = valid({"trade_id": f"old-{n}", "timestamp": MOMENT.replace(microsecond=n)} for n in range(200))
    new = valid({"trade_id": f"new-{n}", "timestamp": MOMENT.replace(microsecond=900_000 + n)} for n in range(150))
    load_all(index, old)
    for table in (old, new):
        index.add(by_market(table))
        stored.update(table["trade_id"].to_pylist())
    late = valid([{"trade_id": "late", "timestamp": MOMENT.replace(microsecond=5)}])
    batch = pa.concat_tables([old.slice(0, 10), late, new.slice(0, 5)])
    split = index.split(batch, by_market(batch))
    assert split.fresh["trade_id"].to_pylist() == ["late"]
    assert split.duplicates.num_rows == 15
    assert asked == [11]


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=300, unique=True), min_size=1, max_size=20))
def test_digests_hold_exactly_what_was_added(batches: list[list[int]]) -> None:
    held, index = set[int](), IdHashes(limit=10**9)
    for batch in batches:
        fresh = [n for n in batch if n not in held]
        index.add(hash_ids(pl.Series([f"t{n}" for n in fresh], dtype=pl.String)), np.array(fresh, dtype=np.int64))
        held.update(fresh)
    probe = list(range(0, 3100, 7))
    found = index.holds(hash_ids(pl.Series([f"t{n}" for n in probe])))
    assert found.tolist() == [n in held for n in probe]
    assert len(index) == len(held)
