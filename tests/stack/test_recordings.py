"""Every recording through the whole pipeline by the commands a user types; candles compared cell by cell."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Running
from tests.recorded import OTHERS, OURS, Recorded
from tests.stack import truth
from tests.stack.compare import gold_candles, gold_rows, rows, silver_set, true_set
from tests.stack.conftest import Medallion

pytestmark = pytest.mark.stack

# The storms have Binance's. The others' are real frames that may not be copied: a case of its own where they are.
SMALL = {name: one for name, one in OURS.items() if one.exchange != "binance"}
LARGE = {"ours": OURS, **({"others": OTHERS} if OTHERS else {})}
GROUPS = [pytest.param(group, id=name) for name, group in LARGE.items()]


def identity(row: Mapping[str, object]) -> tuple[str, ...]:
    """What makes two trades the same trade with the same content."""
    texts = [str(row[name]) for name in ("exchange", "symbol", "trade_id", "side", "us")]
    return (*texts, truth.text(row["price"]), truth.text(row["quantity"]))


def test_every_recording_gives_the_true_candles(shared_stack: Path, medallion: Medallion) -> None:
    assert_true_candles(shared_stack, medallion, SMALL)


# Its sibling has fewer recordings; the storms have Binance's.
@pytest.mark.nightly
@pytest.mark.parametrize("group", GROUPS)
def test_every_large_recording_gives_the_true_candles(
    stack: Path, medallion: Medallion, group: Mapping[str, Recorded]
) -> None:
    assert_true_candles(stack, medallion, group)


def assert_true_candles(stack: Path, medallion: Medallion, group: Mapping[str, Recorded]) -> None:
    """A fresh stack makes of the recordings exactly the trades and candles that they hold."""
    for recorded in group.values():
        medallion("replay", recorded.path, "--exchange", recorded.code, "--data-dir", stack)
    medallion("drain", "--data-dir", stack)

    # The combined stream has the trades of another recording again.
    expected = pl.concat([truth.trades(recorded) for recorded in group.values()]).unique(maintain_order=True)
    silver = silver_set(medallion, stack)
    assert len(silver) == len(expected)
    assert set(silver) == true_set(expected)
    amounts = rows(medallion, stack, "SELECT price, quantity, quote_volume FROM silver_trades")
    assert all(
        decimal.Decimal(r["quote_volume"]) == decimal.Decimal(r["price"]) * decimal.Decimal(r["quantity"])
        for r in amounts
    )

    gold, doubles = gold_candles(medallion, stack), gold_rows(medallion, stack, "")
    for frame in truth.FRAMES:
        candles = gold[frame]
        assert candles == truth.candles(expected, frame), frame
        assert doubles[frame].keys() == candles.keys()
        for key, row in doubles[frame].items():
            assert {cell: float(row[cell]) for cell in truth.CELLS} == {
                cell: float(candles[key][cell]) for cell in truth.CELLS
            }

    # Kraken re-sent 49 after its reconnect; of ours, the 15,863 of the combined stream were sent twice.
    repeated = sum(len(recorded.frames().trades) for recorded in group.values()) - len(expected)
    assert repeated == (15_863 + 49 if group is OURS else 49)
    assert rows(medallion, stack, "SELECT count() AS n FROM duplicate_trades") == [{"n": str(repeated)}]
    assert rows(medallion, stack, "SELECT count() AS n FROM dlq_trades") == [{"n": "0"}]


@pytest.fixture(scope="module")
def bad_input(
    shared_stack: Path, medallion: Medallion, recordings: Path, tmp_path_factory: pytest.TempPathFactory
) -> int:
    """Bad input of every kind, and good trades behind it, in the stack; how many messages were trades before."""
    before = messages_of_trades(medallion, shared_stack)
    huge = tmp_path_factory.mktemp("huge") / "huge.jsonl"
    trade = '{"e":"trade","E":1,"s":"BTCUSDT","t":77,"p":"1","q":"1","T":1723161255342,"m":true,"M":true,"pad":"%s"}\n'
    huge.write_text(trade % ("x" * 10_000_000), encoding="ascii")
    kraken = recordings / "kraken_v2_btcusd.jsonl"
    for path, *more in (
        (recordings / "binance_bad_input.jsonl", "binance"),
        (huge, "binance"),
        (kraken, "nosuchexchange", "--unlisted"),
        (kraken, "kraken"),
    ):
        medallion("replay", path, "--exchange", *more, "--data-dir", shared_stack)
    medallion("drain", "--data-dir", shared_stack)
    return before


def messages_of_trades(medallion: Medallion, stack: Path) -> int:
    """How many messages became a trade or a duplicate of one."""
    counts = "SELECT count() AS n FROM silver_trades UNION ALL SELECT count() FROM duplicate_trades"
    return sum(int(row["n"]) for row in rows(medallion, stack, counts))


def test_bad_input_of_every_kind_has_its_own_reason_and_stalls_nothing(
    shared_stack: Path, medallion: Medallion, bad_input: int
) -> None:
    listed = json.loads(medallion("dlq", "list", "--limit", "1000", "--json", "--data-dir", shared_stack).stdout)
    reasons: dict[str, int] = {}
    for record in listed:
        reasons[record["reason"]] = reasons.get(record["reason"], 0) + 1
        assert record["raw_topic"]
        assert record["raw_offset"] >= 0
    assert reasons == {
        "price_not_a_number": 1,
        "price_above_limit": 1,
        "price_not_positive": 1,
        "price_missing": 1,
        "quantity_not_positive": 1,
        "quantity_above_limit": 1,
        "price_too_precise": 1,
        "symbol_unmapped": 1,
        "timestamp_invalid": 2,
        "malformed_payload": 1,
        "empty_message": 1,
        "unrecognised_message": 2,
        "message_too_large": 1,
        "exchange_unknown": 10,
    }
    assert messages_of_trades(medallion, shared_stack) == bad_input + 52


# It takes the rows of Raw and Bronze away, so it is the last one of this stack.
@pytest.mark.usefixtures("bad_input")
def test_show_puts_message_row_and_rule_side_by_side(shared_stack: Path, state_home: Path) -> None:
    running = Running(shared_stack, truth.ROOT / "config" / "symbols.yaml", state_home)
    (listed,) = running.json("dlq", "list", "--reason", "price_above_limit")
    place = [listed["raw_topic"], listed["raw_partition"], listed["raw_offset"]]
    (printed,) = re.findall(r"market\.\S+", running.run("dlq", "list", "--trade-id", listed["trade_id"]).stdout)
    (dead_letter,) = running.json("dlq", "show", printed)
    assert dead_letter["coordinates"]["raw_offset"] == place[2]
    assert dead_letter["rule"]["reason"] == "price_above_limit"
    assert dead_letter["rule"]["limit"] == "1000000"
    assert dead_letter["rule"]["value"] == dead_letter["bronze"]["price_text"]
    assert dead_letter["bronze"]["source"] == "bronze_trades"
    assert dead_letter["raw"]["source"] == "trades_raw"
    (raw,) = running.query(
        f"SELECT raw_json FROM trades_raw WHERE (_topic, _partition, _offset) = ('{place[0]}', {place[1]}, {place[2]})"
    )
    assert dead_letter["raw"]["message"] == raw["raw_json"]
    assert dead_letter["raw"]["bytes"] == len(raw["raw_json"].encode())

    shown = running.run("dlq", "show", *map(str, place)).stdout
    for part in ("Raw message", "Bronze row", "Rule", "price_above_limit", dead_letter["rule"]["value"]):
        assert part in shown
    several = running.json("dlq", "show", "--exchange", "binance", "--limit", "3")
    assert len(several) == 3
    # The dead letter holds all of it when the hot tables have let go.
    running.run("query", "TRUNCATE TABLE trades_raw")
    running.run("query", "TRUNCATE TABLE bronze_trades")
    (kept,) = running.json("dlq", "show", *map(str, place))
    assert kept["raw"] == {**dead_letter["raw"], "source": "dead letter"}
    assert kept["bronze"] == {
        name: dead_letter["bronze"][name] if name != "source" else "dead letter" for name in kept["bronze"]
    }
    assert "No such dead letter" in running.run("dlq", "show", "nosuchtopic", "0", "0", code=1).stderr
