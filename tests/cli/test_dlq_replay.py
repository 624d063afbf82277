"""Dead letters repaired: the registry gains a market, and its trades come through, once (invariants 1 to 4)."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from schemas.records import BRONZE
from tests.cli.conftest import Running
from tests.stack import truth

pytestmark = pytest.mark.stack

MISSING = "ETHUSDT"
SILVER = "SELECT symbol, count() AS n, uniqExact(trade_id) AS ids FROM silver_trades GROUP BY symbol ORDER BY symbol"


def without(symbols: Path, exchange: str, symbol: str) -> str:
    """Take a market out of the symbols file; the file as it was."""
    text = symbols.read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    del document["exchanges"][exchange][symbol]
    symbols.write_text(yaml.safe_dump(document), encoding="utf-8")
    return text


def expected(recording: Path) -> pl.DataFrame:
    """The trades of a Binance recording, read here without the product."""
    with gzip.open(recording, "rt", encoding="utf-8") as lines:
        frames = [json.loads(line) for line in lines]
    trades = [frame.get("data", frame) for frame in frames]
    return pl.DataFrame(
        {
            "exchange": "binance",
            "symbol": [trade["s"] for trade in trades],
            "price": pl.Series([trade["p"] for trade in trades]).str.to_decimal(scale=18).cast(pl.Decimal(38, 18)),
            "quantity": pl.Series([trade["q"] for trade in trades]).str.to_decimal(scale=18).cast(pl.Decimal(38, 18)),
            "timestamp": pl.Series([trade["T"] for trade in trades]).cast(pl.Datetime("ms")).cast(pl.Datetime("us")),
            "position": [trade["t"] for trade in trades],
        }
    )


def candles(running: Running) -> dict[tuple[str, str, str], dict[str, str]]:
    cells = ", ".join(f"toString({cell}) AS {cell}" for cell in truth.CELLS)
    found = running.query(
        f"SELECT exchange, symbol, toString(window_start) AS window, {cells} FROM gold_ohlcv_1m_exact"
    )
    return {
        (row["exchange"], row["symbol"], row["window"]): {cell: truth.text(row[cell]) for cell in truth.CELLS}
        for row in found
    }


def arrived(running: Running) -> list[dict[str, Any]]:
    """How many rows Raw and Bronze hold."""
    return running.query("SELECT count() AS n FROM trades_raw UNION ALL SELECT count() FROM bronze_trades")


def test_a_market_the_registry_gains_comes_through_once(running: Running, recordings: Path, tmp_path: Path) -> None:
    recording = tmp_path / "some.jsonl.gz"
    with gzip.open(recordings / "binance_spot_trades.jsonl.gz") as whole_day, gzip.open(recording, "wb") as some:
        some.writelines(itertools.islice(whole_day, 0, None, 16))
    trades = expected(recording)
    missing = trades.filter(pl.col("symbol") == MISSING).height
    rest = trades.height - missing
    whole = without(running.symbols, "binance", MISSING)
    running.run("replay", recording, "--exchange", "binance")
    running.run("drain")
    assert running.query(SILVER) == [{"symbol": "BTCUSDT", "n": rest, "ids": rest}]
    assert running.json("dlq", "stats")[0]["records"] == missing
    assert running.json("lineage", "verify")["holds"]

    # Nothing passes by the rules that rejected it.
    dry = running.json("dlq", "replay")
    assert (dry["records"], dry["passing"], dry["dry_run"]) == (missing, 0, True)
    assert dry["changes"] == [{"before": "symbol_unmapped", "after": "symbol_unmapped", "records": missing, "why": ""}]
    assert [(one["worker"], one["rules_version"]) for one in dry["workers"]] == [("silver-0", dry["rules_version"])]
    assert dry["rules_differ"] is False
    assert running.json("status")["workers"] == dry["workers"]

    running.symbols.write_text(whole, encoding="utf-8")
    before = arrived(running)
    dry = running.json("dlq", "replay", "--reason", "symbol_unmapped")
    assert (dry["passing"], dry["sent"]) == (missing, 0)
    assert running.json("dlq", "replay", "--reason", "price_missing")["records"] == 0
    assert running.query(SILVER) == [{"symbol": "BTCUSDT", "n": rest, "ids": rest}], "a dry run sends nothing"

    # A crash after the note and before the sending leaves the letters open, and the proof holding.
    running.run(
        "query",
        "INSERT INTO dlq_replays (raw_topic, raw_partition, raw_offset, published_at, exchange, symbol, timestamp, "
        "rejected_at, replay_id) SELECT raw_topic, raw_partition, raw_offset, published_at, exchange, symbol, "
        "timestamp, rejected_at, 'crashed' FROM dlq_trades LIMIT 100",
    )
    assert running.json("dlq", "stats")[0]["records"] == missing
    assert running.json("lineage", "verify")["holds"]

    done = running.json("dlq", "replay", "--yes")
    assert {name: done[name] for name in ("sent", "silver", "duplicates", "again", "pending")} == {
        "sent": missing,
        "silver": missing,
        "duplicates": 0,
        "again": 0,
        "pending": 0,
    }
    assert running.query(SILVER) == [
        {"symbol": "BTCUSDT", "n": rest, "ids": rest},
        {"symbol": MISSING, "n": missing, "ids": missing},
    ]
    assert candles(running) == truth.candles(trades, "1m")
    assert arrived(running) == before, "what arrived is not what was repaired"
    proof = running.json("lineage", "verify")
    assert proof["holds"]
    assert sum(count["silver"] for count in proof["counts"]) == trades.height
    assert sum(count["dlq"] for count in proof["counts"]) == 0
    assert running.json("dlq", "list") == []
    resolved = running.json("dlq", "list", "--resolved", "--limit", "100000")
    assert len(resolved) == missing
    assert {record["landed"] for record in resolved} == {"silver"}
    assert running.query("SELECT countIf(is_confirmed) AS n, count() AS all FROM dlq_replays FINAL") == [
        {"n": missing, "all": missing}
    ]

    again = running.json("dlq", "replay", "--yes")
    assert (again["records"], again["sent"]) == (0, 0)
    running.run("drain")
    assert candles(running) == truth.candles(trades, "1m")


@pytest.mark.nightly
def test_sent_twice_and_rejected_twice_it_still_counts_once(running: Running, recordings: Path) -> None:
    """A crash after the sending, before the confirmation; and a redelivery of what was rejected and repaired."""
    whole = without(running.symbols, "kraken", "BTC/USD")
    recording = recordings / "kraken_v2_btcusd.jsonl"
    running.run("replay", recording, "--exchange", "kraken")
    # Other raw messages of the same trades: of each pair one becomes the trade, the other its duplicate.
    running.run("replay", recording, "--exchange", "kraken")
    running.run("drain")
    columns = ", ".join(BRONZE.names)
    sink = f"INSERT INTO bronze_trades_sink ({columns}, _key) SELECT {columns}, '0' FROM dlq_trades"
    running.run("query", sink)
    running.run("drain")
    assert running.query("SELECT count() AS n FROM dlq_trades") == [{"n": 104}], "at most one record a cause"

    running.symbols.write_text(whole, encoding="utf-8")
    sent = running.json("dlq", "replay", "--yes", "--timeout", "0", code=1)
    assert sent["pending"] + sent["silver"] + sent["duplicates"] == 104
    running.run("drain")
    # Nobody confirmed, and yet each message is in one place only.
    assert running.json("lineage", "verify")["holds"]
    assert running.json("dlq", "replay", "--yes")["records"] == 0
    running.run("query", sink.replace("dlq_trades", "dlq_trades_log"))
    running.run("drain")
    assert running.query("SELECT count() AS n, uniqExact(trade_id) AS ids FROM silver_trades") == [{"n": 52, "ids": 52}]
    assert running.query("SELECT sum(trade_count) AS n FROM gold_ohlcv_1h") == [{"n": 52}]
    proof = running.json("lineage", "verify")
    assert proof["holds"]
    assert [sum(count[place] for count in proof["counts"]) for place in ("silver", "duplicates", "dlq")] == [52, 52, 0]
    landed = running.query("SELECT landed, is_confirmed, count() AS n FROM dlq_replays FINAL GROUP BY ALL ORDER BY ALL")
    assert landed == [
        {"landed": "duplicates", "is_confirmed": 1, "n": 52},
        {"landed": "silver", "is_confirmed": 1, "n": 52},
    ]


def test_show_puts_message_row_and_rule_side_by_side(running: Running, recordings: Path) -> None:
    running.run("replay", recordings / "binance_bad_input.jsonl", "--exchange", "binance")
    running.run("drain")
    (listed,) = running.json("dlq", "list", "--reason", "price_above_limit")
    place = [listed["raw_topic"], listed["raw_partition"], listed["raw_offset"]]
    (printed,) = re.findall(r"market\.\S+", running.run("dlq", "list", "--trade-id", listed["trade_id"]).stdout)
    (letter,) = running.json("dlq", "show", printed)
    assert letter["coordinates"]["raw_offset"] == place[2]
    assert letter["rule"]["reason"] == "price_above_limit"
    assert letter["rule"]["limit"] == "1000000"
    assert letter["rule"]["value"] == letter["bronze"]["price_text"]
    assert letter["bronze"]["source"] == "bronze_trades"
    assert letter["raw"]["source"] == "trades_raw"
    (raw,) = running.query(
        f"SELECT raw_json FROM trades_raw WHERE (_topic, _partition, _offset) = ('{place[0]}', {place[1]}, {place[2]})"
    )
    assert letter["raw"]["message"] == raw["raw_json"]
    assert letter["raw"]["bytes"] == len(raw["raw_json"].encode())

    shown = running.run("dlq", "show", *map(str, place)).stdout
    for part in ("Raw message", "Bronze row", "Rule", "price_above_limit", letter["rule"]["value"]):
        assert part in shown
    several = running.json("dlq", "show", "--exchange", "binance", "--limit", "3")
    assert len(several) == 3
    # The letter holds all of it when the hot tables have let go.
    running.run("query", "TRUNCATE TABLE trades_raw")
    running.run("query", "TRUNCATE TABLE bronze_trades")
    (kept,) = running.json("dlq", "show", *map(str, place))
    assert kept["raw"] == {**letter["raw"], "source": "dead letter"}
    assert kept["bronze"] == {
        name: letter["bronze"][name] if name != "source" else "dead letter" for name in kept["bronze"]
    }
    assert "No such dead letter" in running.run("dlq", "show", "nosuchtopic", "0", "0", code=1).stderr
