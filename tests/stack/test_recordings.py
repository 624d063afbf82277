"""Every recording through the whole pipeline by the commands a user types; candles compared cell by cell."""

from __future__ import annotations

import csv
import decimal
import io
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from tests.recorded import OTHERS, OURS, Recorded
from tests.stack import truth
from tests.stack.conftest import Medallion

pytestmark = pytest.mark.stack

# The storms have Binance's. The others' are real frames that may not be copied: a case of its own where they are.
SMALL = {name: one for name, one in OURS.items() if one.exchange != "binance"}
LARGE = {"ours": OURS, **({"others": OTHERS} if OTHERS else {})}
GROUPS = [
    pytest.param(SMALL, id="small"),
    *(pytest.param(group, id=name, marks=pytest.mark.nightly) for name, group in LARGE.items()),
]


def rows(medallion: Medallion, stack: Path, sql: str) -> list[dict[str, str]]:
    """The answer of `medallion query` as a program reads it."""
    answer = medallion("query", sql, "--format", "CSVWithNames", "--data-dir", stack).stdout
    return list(csv.DictReader(io.StringIO(answer)))


def identity(row: Mapping[str, object]) -> tuple[str, ...]:
    """What makes two trades the same trade with the same content."""
    texts = [str(row[name]) for name in ("exchange", "symbol", "trade_id", "side", "us")]
    return (*texts, truth.text(row["price"]), truth.text(row["quantity"]))


@pytest.mark.parametrize("group", GROUPS)
def test_every_recording_gives_the_true_candles(
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
    silver = rows(
        medallion,
        stack,
        "SELECT exchange, symbol, trade_id, price, quantity, quote_volume, side, "
        "toUnixTimestamp64Micro(timestamp) AS us FROM silver_trades",
    )
    assert len(silver) == len(expected)
    got = {
        (
            r["exchange"],
            r["symbol"],
            r["trade_id"],
            truth.text(r["price"]),
            truth.text(r["quantity"]),
            r["side"],
            r["us"],
        )
        for r in silver
    }
    want = {
        (
            r["exchange"],
            r["symbol"],
            r["trade_id"],
            truth.text(r["price"]),
            truth.text(r["quantity"]),
            r["side"],
            str(us),
        )
        for r, us in zip(expected.iter_rows(named=True), expected["timestamp"].dt.epoch("us").to_list(), strict=True)
    }
    assert got == want
    assert all(
        decimal.Decimal(r["quote_volume"]) == decimal.Decimal(r["price"]) * decimal.Decimal(r["quantity"])
        for r in silver
    )

    for frame in truth.FRAMES:
        answer = rows(medallion, stack, f"SELECT * FROM gold_ohlcv_{frame}_exact")
        candles = {
            (r["exchange"], r["symbol"], r["window_start"]): {cell: truth.text(r[cell]) for cell in truth.CELLS}
            for r in answer
        }
        assert candles == truth.candles(expected, frame), frame
        doubles = rows(medallion, stack, f"SELECT * FROM gold_ohlcv_{frame}")
        assert len(doubles) == len(candles)
        for row in doubles:
            exact = candles[row["exchange"], row["symbol"], row["window_start"]]
            assert {cell: float(row[cell]) for cell in truth.CELLS} == {
                cell: float(exact[cell]) for cell in truth.CELLS
            }

    # Kraken re-sent 49 after its reconnect; of ours, the 15,863 of the combined stream were sent twice.
    repeated = sum(len(recorded.frames().trades) for recorded in group.values()) - len(expected)
    assert repeated == (15_863 + 49 if group is OURS else 49)
    assert rows(medallion, stack, "SELECT count() AS n FROM duplicate_trades") == [{"n": str(repeated)}]
    assert rows(medallion, stack, "SELECT count() AS n FROM dlq_trades") == [{"n": "0"}]


def test_bad_input_of_every_kind_has_its_own_reason_and_stalls_nothing(
    stack: Path, medallion: Medallion, recordings: Path, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.jsonl"
    trade = '{"e":"trade","E":1,"s":"BTCUSDT","t":77,"p":"1","q":"1","T":1723161255342,"m":true,"M":true,"pad":"%s"}\n'
    huge.write_text(trade % ("x" * 10_000_000), encoding="ascii")
    medallion("replay", recordings / "binance_bad_input.jsonl", "--exchange", "binance", "--data-dir", stack)
    medallion("replay", huge, "--exchange", "binance", "--data-dir", stack)
    unlisted = ("--exchange", "nosuchexchange", "--unlisted")
    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", *unlisted, "--data-dir", stack)
    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", stack)
    medallion("drain", "--data-dir", stack)

    listed = json.loads(medallion("dlq", "list", "--limit", "1000", "--json", "--data-dir", stack).stdout)
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
    assert rows(medallion, stack, "SELECT count() AS n FROM silver_trades") == [{"n": "52"}]
