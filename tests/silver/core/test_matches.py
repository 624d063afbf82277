"""Invariant: each match of a market counts once, whether it came singly, summed up, or both, in whatever order."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from config.registry import SymbolRegistry
from producers.kafka.envelope import Envelope
from silver_processor.core.matches import match
from silver_processor.core.rules import Rules
from tests.silver.journey import Journey

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "defaults": {"price_max": 10_000_000, "quantity_max": 1_000_000},
    "exchanges": {"okx": {"BTC-USDT": {"canonical": "BTCUSDT", "base": "BTC", "quote": "USDT"}}},
}
RULES = Rules.of(SymbolRegistry.of(DOCUMENT))
START_MS = 1_795_845_600_000
FIRST_ID = 700_000_001


class Tape:
    """Single matches, in orders: those of one order have one price, side and time, as those that OKX sums up."""

    def __init__(self, orders: list[tuple[int, int, int, bool]]) -> None:
        self.orders: list[list[dict[str, Any]]] = []
        number, moment = FIRST_ID, START_MS
        for matches, price, pause, is_buy in orders:
            moment += pause
            self.orders.append(
                [
                    {
                        "id": number + place,
                        "price": Decimal(price),
                        "quantity": Decimal(number + place - FIRST_ID + 1) / 10,
                        "time": moment,
                        "side": "BUY" if is_buy else "SELL",
                    }
                    for place in range(matches)
                ]
            )
            number += matches

    @property
    def singles(self) -> list[Envelope]:
        return [envelope([match]) for order in self.orders for match in order]

    def candles(self) -> pl.DataFrame:
        """The truth, by polars over the single matches."""
        rows = pl.DataFrame(
            [match for order in self.orders for match in order],
            schema_overrides={"price": pl.Decimal(38, 18), "quantity": pl.Decimal(38, 18)},
        )
        rows = rows.with_columns(window=pl.col("time") // 60_000, quote=pl.col("price") * pl.col("quantity"))
        return (
            rows.sort("time", "id")
            .group_by("window", maintain_order=True)
            .agg(
                pl.col("price").first().alias("open"),
                pl.col("price").max().alias("high"),
                pl.col("price").min().alias("low"),
                pl.col("price").last().alias("close"),
                pl.col("quantity").sum().alias("volume"),
                pl.col("quote").sum().alias("quote_volume"),
                pl.len().alias("trade_count"),
            )
        )


def envelope(matches: list[dict[str, Any]]) -> Envelope:
    """One message for some matches of one order, as the channel `trades` sends it."""
    last = matches[-1]
    return Envelope(
        exchange="okx",
        symbol="BTC-USDT",
        trade_id=str(last["id"]),
        price=str(last["price"]),
        quantity=str(sum(match["quantity"] for match in matches)),
        timestamp=str(last["time"]),
        side=last["side"],
        sequence="",
        matches="" if len(matches) == 1 else str(len(matches)),
        received_at=1,
        payload="{}",
    )


ORDERS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.sampled_from([0, 1, 700, 40_000]), st.booleans()),
    min_size=1,
    max_size=8,
)


@st.composite
def sendings(draw: st.DrawFn) -> tuple[Tape, list[list[Envelope]]]:
    """A tape, and inserts of messages that are any parts of its orders, some of them more than once, in any order."""
    tape = Tape(draw(ORDERS))
    sent: list[Envelope] = []
    for _ in range(draw(st.integers(0, 3))):
        for order in tape.orders:
            start = 0
            while start < len(order):
                size = draw(st.integers(1, len(order) - start))
                if draw(st.booleans()):
                    sent.append(envelope(order[start : start + size]))
                start += size
    random.Random(draw(st.integers(0, 2**16))).shuffle(sent)
    batches: list[list[Envelope]] = []
    while sent:
        size = draw(st.integers(1, len(sent)))
        batches.append(sent[:size])
        sent = sent[size:]
    return tape, batches


def shown(journey: Journey) -> list[tuple[Any, ...]]:
    return journey.candles.drop("symbol", "window_start").rows()


@given(sendings(), st.booleans())
def test_candles_are_those_of_the_single_matches(
    sent: tuple[Tape, list[list[Envelope]]], singles_come_in_one_insert: bool
) -> None:
    tape, batches = sent
    journey = Journey(RULES)
    for batch in batches:
        journey.take(batch)
        held = journey.silver
        ids = [
            number
            for last, count in held.select(pl.col("trade_id").cast(pl.Int64), "match_count").iter_rows()
            for number in range(last - count + 1, last + 1)
        ]
        assert len(ids) == len(set(ids)), "no match is in Silver twice"
        said = {int(message.trade_id) for other in batches[: batches.index(batch) + 1] for message in other}
        assert said <= set(ids) or journey.rejects, "what is not in Silver was told of"
    singles = tape.singles
    for batch in [singles] if singles_come_in_one_insert else [[one] for one in singles]:
        journey.take(batch)
    assert shown(journey) == tape.candles().drop("window").rows()


@settings(max_examples=settings().max_examples // 2, deadline=None)
@given(ORDERS, st.randoms())
def test_sums_and_singles_in_one_insert_lose_nothing_and_do_not_depend_on_their_order(
    orders: list[tuple[int, int, int, bool]], shuffler: random.Random
) -> None:
    """Sums that do not overlap, with any singles beside them: the sums come first, so none is known in part."""
    tape = Tape(orders)
    sums = [envelope(order) for order in tape.orders]
    some = [one for one in tape.singles if shuffler.random() < 0.5]
    messages = [*sums, *some]
    shuffler.shuffle(messages)
    journey = Journey(RULES)
    journey.take(messages)
    assert journey.rejects == []
    assert shown(journey) == tape.candles().drop("window").rows()


def test_a_sum_of_which_some_matches_are_known_names_them_and_singles_heal_it() -> None:
    tape = Tape([(5, 10, 0, True)])
    (order,) = tape.orders
    journey = Journey(RULES)
    journey.take([envelope(order[1:2]), envelope(order[3:4])])
    journey.take([envelope(order)])
    assert [reject["limit"] for reject in journey.rejects] == ["700000002, 700000004 of 700000001-700000005"]
    journey.take(tape.singles)
    assert shown(journey) == tape.candles().drop("window").rows()
    assert journey.duplicates == 2


def test_what_the_index_has_forgotten_is_asked_of_silver() -> None:
    """Also where a sum is half in the index and half forgotten."""
    tape = Tape([(4, 10, 60_000, True)] * 300)
    journey = Journey(RULES)
    journey._index = type(journey._index)(journey._in_silver, id_bitmap_bytes_per_market=900)
    for order in tape.orders:
        journey.take([envelope(order)])
    market = journey._index._markets["okx", "BTCUSDT"]
    assert market.id_bitmaps.horizon is not None, "nothing was forgotten: the test shows nothing"
    journey.take(tape.singles)
    journey.take([envelope(order) for order in tape.orders])
    assert journey.duplicates == 300 * 4 + 300
    assert shown(journey) == tape.candles().drop("window").rows()


@pytest.mark.parametrize("last", [2**64 - 1, 2**63, 2**32, 1_000_000])
def test_the_largest_sum_at_the_edges_of_the_numbers(last: int) -> None:
    ids = np.array([last], dtype=np.uint64)
    known = BitMap64([last - 999_999])
    found = match(ids, np.array([1_000_000]), known, overlap=False)
    assert found.partly_known == {0: f"{last - 999_999} of {last - 999_999}-{last}"}
    assert not match(ids, np.array([1_000_000]), BitMap64(), overlap=True).is_duplicate.any()
