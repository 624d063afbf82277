"""Many dead letters sent again over several Bronze shards and two workers, on the durable broker."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Running
from tests.stack.conftest import kafka

__all__ = ["kafka"]
pytestmark = [pytest.mark.stack, pytest.mark.kafka, pytest.mark.timeout(600)]

DEAD_LETTERS = 21_000
MARKETS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT")


@pytest.fixture
def sharded(tmp_path: Path, kafka: None) -> Iterator[Running]:
    """Three shards, two workers, Apache Kafka; the registry has none of `MARKETS`."""
    del kafka
    shipped = Path(__file__).resolve().parents[3] / "config" / "symbols.yaml"
    symbols = tmp_path / "symbols.yaml"
    symbols.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    stack = Running(tmp_path / "stack", symbols, tmp_path / "home", {"MEDALLION_BRONZE_SHARDS": "3"})
    stack.run("up", "--detach", "--broker", "kafka", "--workers", "2")
    yield stack
    stack.run("down", "--timeout", "0")


def frame(number: int) -> dict[str, Any]:
    trade = {"e": "trade", "s": MARKETS[number % len(MARKETS)], "t": number, "p": "1.50", "q": "2", "m": False}
    return {**trade, "T": 1_723_161_255_342 + number}


@pytest.mark.nightly
def test_twenty_thousand_dead_letters_come_through_once(sharded: Running, tmp_path: Path) -> None:
    """Invariants 1 and 2; more dead letters than a page, and of every page rows for each shard."""
    recording = tmp_path / "new-markets.jsonl.gz"
    with gzip.open(recording, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(frame(number)) + "\n" for number in range(DEAD_LETTERS))
    sharded.run("replay", recording, "--exchange", "binance")
    sharded.run("drain", "--timeout", "150")
    assert [(row["reason"], row["records"]) for row in sharded.json("dlq", "stats")] == [
        ("symbol_unmapped", DEAD_LETTERS)
    ]

    document = yaml.safe_load(sharded.symbols.read_text(encoding="utf-8"))
    for symbol in MARKETS:
        document["exchanges"]["binance"][symbol] = {"canonical": symbol, "base": symbol[:3], "quote": "USDT"}
    sharded.symbols.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = sharded.json("dlq", "replay", "--yes", "--timeout", "150")
    assert (done["sent"], done["silver"], done["duplicates"], done["again"]) == (DEAD_LETTERS, DEAD_LETTERS, 0, 0)

    cells = "count() AS n, uniqExact(symbol, trade_id) AS ids, uniqExact(bronze_partition) > 1 AS spread"
    assert sharded.query(f"SELECT {cells} FROM silver_trades") == [
        {"n": DEAD_LETTERS, "ids": DEAD_LETTERS, "spread": 1}
    ]
    owners = "SELECT max(n) AS n FROM (SELECT uniqExact(bronze_partition) AS n FROM silver_trades GROUP BY symbol)"
    assert sharded.query(owners) == [{"n": 1}], "a market stays in its shard"
    assert sharded.query("SELECT sum(trade_count) AS n FROM gold_ohlcv_5m") == [{"n": DEAD_LETTERS}]
    assert sharded.json("lineage", "verify")["holds"]
    again = sharded.json("dlq", "replay", "--yes")
    assert (again["records"], again["sent"]) == (0, 0)
