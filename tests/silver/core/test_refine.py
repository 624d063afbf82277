"""The rules of Silver: each row ends in exactly one place, with the reason of the first rule it breaks."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reasons import MEANINGS, Reason
from schemas.records import SILVER
from silver_processor.core.refine import EARLIEST, LATEST, REJECT_COLUMNS, VALID, refine
from silver_processor.core.versions import ABOUT_VERSIONS
from tests.silver.bronze import RULES, bronze

TICK = timedelta(microseconds=1)
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"defect": "malformed_envelope", "exchange": ""}, "malformed_envelope", ""),
    ({"defect": "message_too_large", "exchange": "", "symbol": ""}, "message_too_large", ""),
    ({"exchange": "", "defect": "empty_message"}, "exchange_missing", ""),
    ({"exchange": "mtgox", "defect": "timestamp_invalid"}, "exchange_unknown", "mtgox"),
    ({"exchange": "Binance"}, "exchange_unknown", "Binance"),
    ({"defect": "empty_message", "symbol": ""}, "empty_message", ""),
    ({"defect": "malformed_payload", "symbol": ""}, "malformed_payload", ""),
    ({"defect": "unrecognised_message", "symbol": ""}, "unrecognised_message", ""),
    ({"defect": "timestamp_missing", "timestamp_raw": ""}, "timestamp_missing", ""),
    ({"defect": "timestamp_invalid", "timestamp_raw": "yesterday"}, "timestamp_invalid", "yesterday"),
    ({"defect": "from_the_future"}, "defect_unknown", "from_the_future"),
    ({"symbol": "", "trade_id": ""}, "symbol_missing", ""),
    ({"trade_id": "", "symbol": "NOPE"}, "trade_id_missing", ""),
    ({"trade_id": " 7", "symbol": "NOPE"}, "trade_id_invalid", " 7"),
    ({"trade_id": "7 "}, "trade_id_invalid", "7 "),
    ({"trade_id": "7\n"}, "trade_id_invalid", "7\n"),
    ({"trade_id": "a b"}, "trade_id_invalid", "a b"),
    ({"trade_id": "\u200b7"}, "trade_id_invalid", "\u200b7"),
    ({"trade_id": "7\u00a0"}, "trade_id_invalid", "7\u00a0"),
    ({"trade_id": "\uff17"}, "trade_id_invalid", "\uff17"),
    ({"trade_id": "7\x00"}, "trade_id_invalid", "7\x00"),
    ({"symbol": "NOPE", "price_text": ""}, "symbol_unmapped", "NOPE"),
    ({"symbol": "btcusdt"}, "symbol_unmapped", "btcusdt"),
    ({"symbol": "BTC/USD"}, "symbol_unmapped", "BTC/USD"),
    ({"price_text": "", "quantity_text": ""}, "price_missing", ""),
    ({"price_text": "NaN", "quantity_text": "-1"}, "price_not_a_number", "NaN"),
    ({"price_text": "x" * 1000}, "price_not_a_number", "x" * 256),
    ({"price_text": "-1"}, "price_not_positive", "-1"),
    ({"price_text": "0.00"}, "price_not_positive", "0.00"),
    ({"price_text": "1000000.00000001"}, "price_above_limit", "1000000.00000001"),
    ({"price_text": "1e400"}, "price_above_limit", "1e400"),
    ({"price_text": "1.0000000000000000001"}, "price_too_precise", "1.0000000000000000001"),
    ({"price_text": "1e25", "symbol": "WIDEUSDT"}, "price_too_precise", "1e25"),
    ({"quantity_text": "", "side": ""}, "quantity_missing", ""),
    ({"quantity_text": "inf"}, "quantity_not_a_number", "inf"),
    ({"quantity_text": "-0"}, "quantity_not_positive", "-0"),
    ({"quantity_text": "100000.1"}, "quantity_above_limit", "100000.1"),
    ({"quantity_text": "1e-400"}, "quantity_too_precise", "1e-400"),
    (
        {"price_text": "0.00000000001", "quantity_text": "0.0000000001", "side": "?"},
        "quote_volume_too_precise",
        "0.00000000001 * 0.0000000001",
    ),
    ({"side": ""}, "side_invalid", ""),
    ({"side": "BUY "}, "side_invalid", "BUY "),
    ({"timestamp": EARLIEST - TICK, "timestamp_raw": "1", "sequence": "x"}, "timestamp_out_of_range", "1"),
    ({"timestamp": LATEST, "timestamp_raw": "4102444800"}, "timestamp_out_of_range", "4102444800"),
    ({"sequence": "-1"}, "sequence_invalid", "-1"),
    ({"sequence": str(2**64)}, "sequence_invalid", str(2**64)),
    ({"kind": "X=NEW", "matches": "0"}, "kind_unknown", "X=NEW"),
    ({"kind": "Market"}, "kind_unknown", "Market"),
    ({"matches": "0"}, "matches_invalid", "0"),
    ({"matches": "1.0"}, "matches_invalid", "1.0"),
    ({"matches": "-1"}, "matches_invalid", "-1"),
    ({"matches": "1000001", "trade_id": "2000000"}, "matches_invalid", "1000001"),
    ({"matches": str(2**64)}, "matches_invalid", str(2**64)),
    ({"matches": "8", "trade_id": "6"}, "matches_invalid", "8"),
    ({"matches": "2", "trade_id": "no-number"}, "matches_invalid", "2"),
    ({"matches": "2", "trade_id": "007"}, "matches_invalid", "2"),
    ({"matches": "2", "trade_id": str(2**64)}, "matches_invalid", "2"),
]
# What only the index of seen trades can tell, and what is about a Bronze message.
NOT_OF_ONE_ROW = {Reason.BRONZE_UNREADABLE.value, Reason.MATCHES_PARTLY_KNOWN.value, *ABOUT_VERSIONS}


@pytest.mark.parametrize(("change", "reason", "value"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_each_broken_rule_has_its_reason_and_leaves_its_neighbours_alone(
    change: dict[str, Any], reason: str, value: str
) -> None:
    """Invariant 5: the broken row is rejected with its own reason and value; the rows around it pass."""
    refined = refine(bronze([{}, change, {"trade_id": "7"}]), RULES)
    assert refined.valid["raw_offset"].to_pylist() == [0, 2]
    (reject,) = refined.rejects.to_pylist()
    meaning = MEANINGS[Reason(reason)]
    assert (reject["reason"], reject["value"]) == (reason, value)
    assert (reject["field"], reject["rule"]) == (meaning.field, meaning.rule)
    assert reject["raw_offset"] == 1


def test_every_reason_that_refine_can_give_is_tried() -> None:
    assert {case[1] for case in CASES} == {reason.value for reason in Reason} - NOT_OF_ONE_ROW


@pytest.mark.parametrize(
    "change",
    [
        {"price_text": "1000000"},
        {"price_text": "1e6"},
        {"quantity_text": "100000.00000000000000000000"},
        {"symbol": "SHIBUSDT", "quantity_text": "1000000000000", "price_text": "0.00001"},
        {"side": "buy"},
        {"side": "Sell"},
        {"timestamp": EARLIEST},
        {"timestamp": LATEST - TICK},
        {"sequence": str(2**64 - 1)},
        {"exchange": "kraken", "symbol": "XBT/USD"},
        {"kind": "market", "matches": "1"},
        {"kind": "block", "matches": "7", "trade_id": "6"},
        {"matches": "1000000", "trade_id": str(2**64 - 1)},
        {"matches": "1", "trade_id": "no-number"},
        {"matches": "2", "trade_id": "1"},
        {"trade_id": "!~#T-1_2:3/4.5+6=7"},
        {"trade_id": str(2**64)},
    ],
)
def test_limits_are_inclusive_and_case_does_not_matter_for_side(change: dict[str, Any]) -> None:
    assert refine(bronze([change]), RULES).valid.num_rows == 1


def test_a_kind_and_a_number_of_matches_reach_silver_and_nothing_said_is_one_market_trade() -> None:
    changes = [{}, {"kind": "rpi"}, {"kind": "insurance_fund", "matches": "003"}]
    valid = refine(bronze(changes), RULES).valid
    assert valid["trade_kind"].to_pylist() == ["market", "rpi", "insurance_fund"]
    assert valid["match_count"].to_pylist() == [1, 1, 3]


def test_limit_of_a_reject_is_that_of_its_symbol() -> None:
    changes = [
        {"quantity_text": "1e99"},
        {"quantity_text": "1e99", "symbol": "SHIBUSDT"},
        {"price_text": "1e99", "symbol": "FINEUSDT"},
    ]
    limits = refine(bronze(changes), RULES).rejects["limit"].to_pylist()
    assert limits == ["100000", "1000000000000", "12.3400000000000000001"]


@pytest.mark.parametrize(
    ("trade_id", "sequence", "expected"),
    [
        ("42", "", 42),
        ("42", "7", 7),
        (str(2**64 - 1), "", 2**64 - 1),
        (str(2**64), "", 0),
        ("0007", "", 7),
        ("00000000000000000000000000000009", "", 9),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", 0),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "512", 512),
        ("-5", "", 0),
    ],
)
def test_the_order_key_is_the_sequence_or_the_numeric_trade_id(trade_id: str, sequence: str, expected: int) -> None:
    refined = refine(bronze([{"trade_id": trade_id, "sequence": sequence}]), RULES)
    assert refined.valid["sequence"].to_pylist() == [expected]


def test_a_valid_row_keeps_its_lineage_and_gets_canonical_names() -> None:
    change = {"exchange": "kraken", "symbol": "XBT/USD", "raw_partition": 3, "raw_offset": 2**40}
    (row,) = refine(bronze([change]), RULES).valid.to_pylist()
    assert (row["symbol"], row["exchange_symbol"], row["side"]) == ("BTCUSD", "XBT/USD", "SELL")
    assert (row["raw_partition"], row["raw_offset"], row["rules_version"]) == (3, 2**40, RULES.version)


def test_schemas_hold_with_and_without_rejects_and_for_no_rows() -> None:
    for table in (bronze([{}]), bronze([{}, {"side": "?"}]), bronze([])):
        refined = refine(table, RULES)
        assert refined.valid.schema.equals(VALID)
        assert refined.rejects.column_names == list(REJECT_COLUMNS)
    assert set(VALID.names) < set(SILVER.names)


@given(st.lists(st.sampled_from([{}, {"price_text": "2"}, *(case[0] for case in CASES)]), max_size=30), st.randoms())
def test_the_result_depends_on_each_row_alone(changes: list[dict[str, Any]], shuffler: random.Random) -> None:
    """Invariants 1 and 3: permuted rows give the permuted result, and every row is in exactly one table."""
    table = bronze(changes)
    order = list(range(len(changes)))
    shuffler.shuffle(order)
    straight, permuted = refine(table, RULES), refine(table.take(pa.array(order, pa.int64())), RULES)
    assert straight.valid.num_rows + straight.rejects.num_rows == len(changes)
    for one, other in ((straight.valid, permuted.valid), (straight.rejects, permuted.rejects)):
        assert one.sort_by("raw_offset").equals(other.sort_by("raw_offset"))
        offsets = set(one["raw_offset"].to_pylist())
        assert other["raw_offset"].to_pylist() == [place for place in order if place in offsets]


def test_extra_columns_of_the_caller_pass_through() -> None:
    stamped = bronze([{}]).append_column("insert_token", [["t:0:1-1:5"]])
    assert refine(stamped, RULES).valid["insert_token"].to_pylist() == ["t:0:1-1:5"]
