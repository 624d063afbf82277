"""An exchange corrects its dump and the corrected trades are taken over: the command line on a running stack."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Running
from tests.stack.truth import FRAMES

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

CASE = Path(__file__).resolve().parents[2] / "cases" / "dump-corrected-later"
DAY = ("--from", "2026-07-03", "--to", "2026-07-04")
MARKET = ("--exchange", "binance_usdm", "--symbol", "SOLUSDT")


def truth(version: str) -> dict[str, tuple[str, Decimal, Decimal]]:
    """Side, price and quantity by trade id, read here without the product."""
    with (CASE / version / "SOLUSDT-trades-2026-07-03.csv").open() as file:
        return {
            row["id"]: (
                "SELL" if row["is_buyer_maker"] == "true" else "BUY",
                Decimal(row["price"]),
                Decimal(row["qty"]),
            )
            for row in csv.DictReader(file)
        }


def backfill(running: Running, version: str, folder: Path) -> None:
    state = ("--state", folder / f"{version}.jsonl")
    running.run("backfill", *MARKET[:2], "--symbols", "SOLUSDT", *DAY, "--source", CASE / version, *state)
    running.run("drain")


def assert_is(running: Running, version: str, *, cold: bool) -> None:
    """Silver and every candle are those of this version of the dump, in both tiers."""
    expected = truth(version)
    for table in ("silver_trades", *(["silver_trades_all"] if cold else [])):
        rows = running.query(
            "SELECT trade_id, toString(side) AS side, toString(price) AS price, toString(quantity) AS quantity"
            f" FROM {table}"
        )
        assert len(rows) == len(expected)
        found = {row["trade_id"]: (row["side"], Decimal(row["price"]), Decimal(row["quantity"])) for row in rows}
        assert found == expected, table
    bought = sum((quantity for side, _, quantity in expected.values() if side == "BUY"), Decimal(0))
    volume = sum((quantity for _, _, quantity in expected.values()), Decimal(0))
    sums = running.query(
        " UNION ALL ".join(
            "SELECT toString(sum(buy_volume)) AS bought, toString(sum(volume)) AS volume, sum(trade_count) AS trades"
            f" FROM gold_ohlcv_{frame}_exact"
            for frame in FRAMES
        )
    )
    found_sums = [(Decimal(row["bought"]), Decimal(row["volume"]), int(row["trades"])) for row in sums]
    assert found_sums == [(bought, volume, len(expected))] * len(FRAMES)


def message_of(running: Running, trade_id: str) -> str:
    """The message that Silver's row of a trade names."""
    (row,) = [row for row in running.query("SELECT * FROM silver_trades") if row["trade_id"] == trade_id]
    return f"{row['raw_topic']}[{row['raw_partition']}]@{row['raw_offset']}"


def proof(running: Running) -> dict[str, int]:
    found: dict[str, Any] = running.json("lineage", "verify")
    assert found["holds"]
    names = ("raw", "silver", "duplicates", "dlq", "contradicting", "missing", "in_several")
    return {name: sum(count[name] for count in found["counts"]) for name in names}


def assert_one_is_taken_back(running: Running) -> None:
    """The exchange's file has one trade less than before. It is withdrawn, and the rest stays."""
    file = ("--day", "2026-07-03", "--source", CASE / "taken-back")
    (gone,) = truth("corrected").keys() - truth("taken-back").keys()
    planned = running.json("dlq", "withdraw", *MARKET, *file)
    assert (planned["dry_run"], [one["message"] for one in planned["withdrawn"]]) == (True, [message_of(running, gone)])
    assert_is(running, "corrected", cold=True)
    running.run("dlq", "withdraw", *MARKET, code=2)
    running.run("dlq", "withdraw", *MARKET, *file, "--yes")
    assert_is(running, "taken-back", cold=True)
    counts = proof(running)
    assert (counts["silver"], counts["missing"], counts["in_several"]) == (5, 0, 0)
    again = running.json("dlq", "withdraw", *MARKET, gone, "--yes")
    assert (again["withdrawn"], again["days"]) == ([], [])


@pytest.mark.nightly
def test_a_corrected_dump_is_taken_over(running: Running, tmp_path: Path) -> None:
    """Contradictions are shown, accepted, proved; the old version stays a dead letter; twice is once."""
    backfill(running, "first", tmp_path)
    assert_is(running, "first", cold=False)
    backfill(running, "corrected", tmp_path)
    # Three of the six say the same in both files.
    first, corrected = truth("first"), truth("corrected")
    differing = sorted(trade for trade in first if first[trade] != corrected[trade])
    assert differing
    assert_is(running, "first", cold=False)
    counts = proof(running)
    same = len(first) - len(differing)
    assert counts == {
        "raw": 12, "silver": 6, "duplicates": same, "dlq": len(differing), "contradicting": len(differing),
        "missing": 0, "in_several": 0,
    }  # fmt: skip
    dead_letters = running.json("dlq", "list", "--reason", "trade_contradicts")
    assert sorted(dead_letter["trade_id"] for dead_letter in dead_letters) == differing
    assert {(dead_letter["field"], dead_letter["value"]) for dead_letter in dead_letters} == {
        ("side", f"side {corrected[differing[0]][0]}")
    }
    assert all(
        dead_letter["limit"].startswith(f"side {first[dead_letter['trade_id']][0]} (market.crypto.")
        for dead_letter in dead_letters
    )
    shown = running.json("dlq", "show", "--reason", "trade_contradicts", "--limit", "1")
    assert shown[0]["held"]["side"] == first[shown[0]["held"]["trade_id"]][0]

    planned = running.json("dlq", "accept", *MARKET)
    assert planned["dry_run"]
    assert sorted(one["trade_id"] for one in planned["corrections"]) == differing
    for one in planned["corrections"]:
        assert (one["old"]["side"], one["new"]["side"]) == (first[one["trade_id"]][0], corrected[one["trade_id"]][0])
    assert planned["candles"]["1d"] == ["2026-07-03T00:00:00+00:00"]
    assert_is(running, "first", cold=False)
    running.run("dlq", "accept", "--yes", code=2)

    running.run("dlq", "accept", *MARKET, "--yes")
    assert_is(running, "corrected", cold=True)
    counts = proof(running)
    assert counts == {
        "raw": 12, "silver": 6, "duplicates": same, "dlq": len(differing), "contradicting": 0,
        "missing": 0, "in_several": 0,
    }  # fmt: skip
    assert [(row["reason"], row["records"]) for row in running.json("dlq", "stats")] == [
        ("trade_superseded", len(differing))
    ]
    again = running.json("dlq", "accept", *MARKET, "--yes")
    assert (again["corrections"], again["days"]) == ([], [])
    # What is superseded stays so, whatever is tried with it; a re-derivation keeps the correction.
    replayed = running.json("dlq", "replay", "--yes")
    assert replayed["sent"] == 0
    done = running.json("rederive", *DAY)
    assert [(day["added"], day["removed"], day["altered"]) for day in done["days"]] == [(0, 0, 0)]
    assert_is(running, "corrected", cold=True)
    # The first file once more: it contradicts what is accepted now. Its like of the corrected one are duplicates.
    backfill(running, "first", tmp_path / "again")
    counts = proof(running)
    assert (counts["silver"], counts["contradicting"]) == (6, len(differing))
    assert_is(running, "corrected", cold=True)
    assert_one_is_taken_back(running)
