"""Invariant: a re-derivation adds what the stream would have taken: each match once, whatever the buckets."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from offload.difference.match_index import MatchIndex

IDS = range(100, 130)


def rows(trades: list[tuple[int, int]], offset: int = 0) -> pl.DataFrame:
    """Trades (last id, number of matches), one raw message each."""
    return pl.DataFrame(
        [
            {
                "exchange": "okx",
                "symbol": "BTCUSDT",
                "trade_id": str(last),
                "timestamp": 1_000_000 + last,
                "sequence": last,
                "match_count": count,
                "raw_topic": "t",
                "raw_partition": 0,
                "raw_offset": offset + place,
                "published_at": 0,
            }
            for place, (last, count) in enumerate(trades)
        ],
        schema={
            "exchange": pl.String,
            "symbol": pl.String,
            "trade_id": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "sequence": pl.Int64,
            "match_count": pl.Int64,
            "raw_topic": pl.String,
            "raw_partition": pl.Int64,
            "raw_offset": pl.Int64,
            "published_at": pl.Datetime("us", "UTC"),
        },
    )


def ids(frame: pl.DataFrame) -> list[int]:
    return [
        number
        for last, count in frame.select(pl.col("trade_id").cast(pl.Int64), "match_count").iter_rows()
        for number in range(last - count + 1, last + 1)
    ]


TRADES = st.lists(
    st.tuples(st.sampled_from(list(IDS)), st.integers(1, 6)), max_size=12, unique_by=lambda trade: trade[0]
)


@settings(max_examples=settings().max_examples * 2, deadline=None)
@given(TRADES, TRADES, st.integers(1, 7), st.randoms())
def test_each_match_is_added_once_whatever_the_buckets(
    held: list[tuple[int, int]], offered: list[tuple[int, int]], buckets: int, shuffler: random.Random
) -> None:
    silver: list[tuple[int, int]] = []
    for last, count in held:
        if not set(range(last - count + 1, last + 1)) & set(ids(rows(silver))):
            silver.append((last, count))
    messages = rows([trade for trade in offered if trade[0] not in {last for last, _ in silver}])
    several = pl.col("match_count") > 1
    matches = MatchIndex(set(pl.concat([rows(silver), messages]).filter(several)["symbol"]))
    matches.add_bronze(messages.filter(several))
    matches.add_silver(rows(silver))
    numbers = list(range(buckets))
    shuffler.shuffle(numbers)
    added, told = [messages.clear()], set[int]()
    for bucket in numbers:
        new, partly = matches.split_new(messages.filter(pl.col("trade_id").cast(pl.Int64) % buckets == bucket))
        added.append(new)
        told |= set(partly["raw_offset"].to_list())
    after = [*ids(rows(silver)), *ids(pl.concat(added))]
    if matches.symbols:
        assert len(after) == len(set(after)), "no match is there twice"
    # Every message is a row, all of it is there, or it is told which part is.
    rest = messages.join(pl.concat(added), on="raw_offset", how="anti")
    for message in rest.iter_rows(named=True):
        own = ids(rest.filter(pl.col("raw_offset") == message["raw_offset"]))
        assert message["raw_offset"] in told or set(own) <= set(after)
    wanted: Any = rows(silver).clear()
    assert pl.concat(added).schema == wanted.schema
