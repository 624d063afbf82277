"""When two messages of a trade say the same: the rule, against one written here row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reasons import Reason
from silver_processor.core.refine import REJECT_COLUMNS, refine, refuse
from silver_processor.core.versions import HELD, compare, contradicting, overruled
from tests.silver.bronze import MOMENT, RULES, bronze

MICROSECOND = timedelta(microseconds=1)
VERSION: dict[str, Any] = {
    "exchange": "binance",
    "symbol": "BTCUSDT",
    "trade_id": "1",
    "price": Decimal("1.50"),
    "quantity": Decimal(2),
    "timestamp": MOMENT,
    "side": "BUY",
    "trade_kind": "market",
    "match_count": 1,
    "raw_topic": "raw",
    "raw_partition": 0,
    "raw_offset": 1,
    "published_at": MOMENT,
}


def versions(*changes: dict[str, Any]) -> pl.DataFrame:
    """One version a change, each another message unless the change says which."""
    rows = [VERSION | {"raw_offset": 10 + number} | change for number, change in enumerate(changes)]
    return pl.DataFrame(rows, schema=HELD)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, ""),
        ({"price": Decimal("1.5")}, ""),
        ({"price": Decimal("1.51")}, "price_text"),
        ({"quantity": Decimal("2.000000000000000001")}, "quantity_text"),
        ({"side": "SELL"}, "side"),
        ({"price": Decimal(1), "side": "SELL"}, "price_text, side"),
        # The same instant by a clock of milliseconds, cut or rounded.
        ({"timestamp": MOMENT + 999 * MICROSECOND}, ""),
        ({"timestamp": MOMENT - 400 * MICROSECOND}, ""),
        ({"timestamp": MOMENT + 1000 * MICROSECOND}, "timestamp"),
        ({"timestamp": MOMENT + timedelta(days=1)}, "timestamp"),
        # A source that knows no kinds says market.
        ({"trade_kind": "liquidation"}, ""),
        # A match is a part of what is summed up, and no more.
        ({"quantity": Decimal(5), "match_count": 3}, ""),
        ({"quantity": Decimal(2), "match_count": 3}, ""),
        ({"quantity": Decimal("1.9"), "match_count": 3}, "quantity_text"),
        ({"price": Decimal(5), "quantity": Decimal(5), "match_count": 3}, "price_text"),
    ],
)
def test_what_two_messages_say_is_compared_as_values(change: dict[str, Any], field: str) -> None:
    for mine, held in ((change, {}), ({}, change)):
        compared = compare(versions(mine), versions(held | {"raw_offset": 99}))
        assert compared["field"].to_list() == [field]
        assert contradicting(compared).height == bool(field)


def test_two_clocks_of_microseconds_differ_and_so_do_two_kinds() -> None:
    early, late = MOMENT + 1 * MICROSECOND, MOMENT + 2 * MICROSECOND
    assert compare(versions({"timestamp": early}), versions({"timestamp": late}))["field"].to_list() == ["timestamp"]
    kinds = compare(versions({"trade_kind": "block"}), versions({"trade_kind": "rpi"}))
    assert kinds["field"].to_list() == ["kind"]


def test_every_message_of_a_withdrawn_trade_is_overruled_also_one_that_says_the_same() -> None:
    decided = {"match_count": 0, "published_at": MOMENT + timedelta(days=1), "raw_offset": 10}
    mine = versions({}, {"side": "SELL", "published_at": MOMENT + timedelta(days=2)}, {"trade_id": "2"})
    found = overruled(compare(mine, versions(decided)))
    assert found.select("raw_offset", "reason", "field", "value", "limit").rows() == [
        (10, "trade_superseded", "trade_id", "trade_id 1", "withdrawn"),
        (11, "trade_contradicts", "trade_id", "trade_id 1", "withdrawn"),
    ]


def test_nothing_is_compared_with_anything_in_the_same_columns() -> None:
    assert compare(versions(), versions({})).schema == compare(versions({}), versions({})).schema


def test_both_versions_are_told_in_the_fields_that_differ() -> None:
    mine = versions({"price": Decimal("150.10"), "side": "SELL", "timestamp": MOMENT + timedelta(seconds=1)})
    compared = compare(mine, versions({"raw_offset": 7, "timestamp": MOMENT}))
    assert compared["value"].to_list() == ["price 150.1, timestamp 2024-08-08T23:54:16.342000Z, side SELL"]
    assert compared["limit"].to_list() == ["price 1.5, timestamp 2024-08-08T23:54:15.342000Z, side BUY (raw[0]@7)"]


def test_the_very_message_is_no_version_and_an_unknown_trade_is_not_compared() -> None:
    compared = compare(versions({"raw_offset": 3}, {"trade_id": "2"}), versions({"raw_offset": 3, "side": "SELL"}))
    assert compared["is_message"].to_list() == [True, False]
    assert compared["is_known"].to_list() == [True, False]
    assert compared["field"].to_list()[1] == ""
    assert not contradicting(compared).height


def test_what_came_before_the_accepted_version_is_superseded_and_what_comes_after_contradicts_it() -> None:
    accepted = versions({"raw_offset": 20, "published_at": MOMENT})
    others = versions(
        {"side": "SELL", "raw_offset": 19},
        {"side": "SELL", "raw_offset": 21},
        {"side": "SELL", "raw_offset": 1, "published_at": MOMENT + timedelta(milliseconds=1)},
        {"side": "BUY", "raw_offset": 22},
    )
    found = overruled(compare(others, accepted))
    assert found.select("raw_offset", "reason").rows() == [
        (19, "trade_superseded"), (21, "trade_contradicts"), (1, "trade_contradicts"),
    ]  # fmt: skip


def test_a_contradiction_becomes_a_reject_like_any_other() -> None:
    """The whole Bronze row, once however often Bronze delivered it, in columns that concatenate with refine's."""
    rows = bronze([{"trade_id": "1"}, {"trade_id": "2"}, {"trade_id": "1", "raw_offset": 0}, {"side": "?"}])
    refined = refine(rows, RULES)
    valid = pl.DataFrame(refined.valid)
    held = valid.with_columns(raw_offset=pl.lit(77, pl.UInt64), side=pl.lit("BUY"))
    verdicts = contradicting(compare(valid, held)).with_columns(reason=pl.lit(Reason.TRADE_CONTRADICTS.value))
    found = refuse(pl.DataFrame(rows), verdicts)
    assert found.columns == list(REJECT_COLUMNS)
    assert found.schema == pl.DataFrame(refined.rejects).schema
    assert found.select("trade_id", "raw_offset", "field", "rule").rows() == [
        ("1", 0, "side", "Silver holds a trade with this id that says something else"),
        ("2", 1, "side", "Silver holds a trade with this id that says something else"),
    ]


MOMENTS = st.integers(0, 4_000).map(lambda us: datetime(2024, 1, 1, tzinfo=UTC) + us * MICROSECOND)
SAID = st.fixed_dictionaries(
    {
        "price": st.sampled_from([Decimal(1), Decimal("1.0"), Decimal(2)]),
        "quantity": st.sampled_from([Decimal(1), Decimal(3)]),
        "timestamp": MOMENTS
        | MOMENTS.map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)),
        "side": st.sampled_from(["BUY", "SELL"]),
        "trade_kind": st.sampled_from(["market", "block", "rpi"]),
        "match_count": st.sampled_from([1, 2]),
    }
)


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The rule once more, in plain Python."""
    found = ["price_text"] if one["price"] != other["price"] else []
    few, many = sorted((one, other), key=lambda said: said["match_count"])
    if few["quantity"] > many["quantity"] or (
        few["match_count"] == many["match_count"] and few["quantity"] != many["quantity"]
    ):
        found.append("quantity_text")
    apart = abs(one["timestamp"] - other["timestamp"])
    whole = any(said["timestamp"].microsecond % 1000 == 0 for said in (one, other))
    if apart and not (whole and apart < timedelta(milliseconds=1)):
        found.append("timestamp")
    if one["side"] != other["side"]:
        found.append("side")
    if one["trade_kind"] != other["trade_kind"] and "market" not in (one["trade_kind"], other["trade_kind"]):
        found.append("kind")
    return found


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=20))
def test_many_at_once_are_each_compared_with_their_own(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """In order, whatever the order of what is held; and the rule does not depend on who came first."""
    ids = [str(number) for number in range(len(pairs))]
    mine = versions(*({**one, "trade_id": trade_id} for (one, _), trade_id in zip(pairs, ids, strict=True)))
    held = versions(*({**two, "trade_id": trade_id} for (_, two), trade_id in zip(pairs, ids, strict=True)))
    held = held.with_columns(pl.col("raw_offset") + 1_000)
    expected = [", ".join(differing(one, two)) for one, two in pairs]
    assert compare(mine, held.reverse())["field"].to_list() == expected
    assert compare(held, mine)["field"].to_list() == expected
