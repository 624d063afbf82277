"""Dead letters sent again: a market that the registry gains, and what a parser was fixed for, come through once
(invariants 1 to 4).
"""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from confluent_kafka import Producer

from config.connections import kafka_client
from config.settings import Settings
from deploy.embedded.layout import DataDir
from producers.exchanges.model import UNRECOGNISED
from producers.kafka.envelope import encode, envelopes
from schemas.records import BRONZE
from tests.cli.conftest import Running
from tests.stack import truth

pytestmark = pytest.mark.stack

MISSING = "ETHUSDT"
SILVER = "SELECT symbol, count() AS n, uniqExact(trade_id) AS ids FROM silver_trades GROUP BY symbol ORDER BY symbol"

TRADE = {"e": "trade", "s": "BTCUSDT", "t": 42, "p": "61837.630", "q": "0.02", "T": 1723161255342, "m": True}
LONG = {**TRADE, "t": 43, "pad": "x" * 80_000}
OWN = "trade_id IN ('42', '43')"
KRAKEN = {
    "channel": "trade",
    "type": "update",
    "data": [
        {
            "symbol": "BTC/USD",
            "side": "buy",
            "price": 60000.1,
            "qty": 1,
            "trade_id": number,
            "timestamp": "2024-08-08T23:54:15Z",
        }
        for number in (1, 2)
    ],
}


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


# Its sibling: test_a_parser_that_was_fixed_brings_its_messages_through.
@pytest.mark.nightly
def test_a_market_the_registry_gains_comes_through_once(shared: Running, recordings: Path, tmp_path: Path) -> None:
    recording = tmp_path / "some.jsonl.gz"
    with gzip.open(recordings / "binance_spot_trades.jsonl.gz") as whole_day, gzip.open(recording, "wb") as some:
        some.writelines(itertools.islice(whole_day, 0, None, 48))
    trades = expected(recording)
    missing = trades.filter(pl.col("symbol") == MISSING).height
    rest = trades.height - missing
    whole = without(shared.symbols, "binance", MISSING)
    shared.run("replay", recording, "--exchange", "binance")
    shared.run("drain")
    assert shared.query(SILVER) == [{"symbol": "BTCUSDT", "n": rest, "ids": rest}]
    assert shared.json("dlq", "stats")[0]["records"] == missing
    assert shared.json("lineage", "verify")["holds"]

    # Nothing passes by the rules that rejected it.
    dry = shared.json("dlq", "replay")
    assert (dry["records"], dry["passing"], dry["dry_run"]) == (missing, 0, True)
    assert dry["changes"] == [{"before": "symbol_unmapped", "after": "symbol_unmapped", "records": missing, "why": ""}]
    assert [(one["worker"], one["rules_version"]) for one in dry["workers"]] == [("silver-0", dry["rules_version"])]
    assert dry["rules_differ"] is False
    assert shared.json("status")["workers"] == dry["workers"]

    shared.symbols.write_text(whole, encoding="utf-8")
    before = arrived(shared)
    dry = shared.json("dlq", "replay", "--reason", "symbol_unmapped")
    assert (dry["passing"], dry["sent"]) == (missing, 0)
    assert shared.json("dlq", "replay", "--reason", "price_missing")["records"] == 0
    assert shared.query(SILVER) == [{"symbol": "BTCUSDT", "n": rest, "ids": rest}], "a dry run sends nothing"

    # A crash after the note and before the sending leaves the dead letters open, and the proof holding.
    shared.run(
        "query",
        "INSERT INTO dlq_replays (raw_topic, raw_partition, raw_offset, published_at, exchange, symbol, timestamp, "
        "rejected_at, replay_id) SELECT raw_topic, raw_partition, raw_offset, published_at, exchange, symbol, "
        "timestamp, rejected_at, 'crashed' FROM dlq_trades LIMIT 100",
    )
    assert shared.json("dlq", "stats")[0]["records"] == missing
    assert shared.json("lineage", "verify")["holds"]

    done = shared.json("dlq", "replay", "--yes")
    assert {name: done[name] for name in ("sent", "silver", "duplicates", "again", "pending")} == {
        "sent": missing,
        "silver": missing,
        "duplicates": 0,
        "again": 0,
        "pending": 0,
    }
    assert shared.query(SILVER) == [
        {"symbol": "BTCUSDT", "n": rest, "ids": rest},
        {"symbol": MISSING, "n": missing, "ids": missing},
    ]
    assert candles(shared) == truth.candles(trades, "1m")
    assert arrived(shared) == before, "what arrived is not what was sent again"
    proof = shared.json("lineage", "verify")
    assert proof["holds"]
    assert sum(count["silver"] for count in proof["counts"]) == trades.height
    assert sum(count["dlq"] for count in proof["counts"]) == 0
    assert shared.json("dlq", "list") == []
    resolved = shared.json("dlq", "list", "--resolved", "--limit", "100000")
    assert len(resolved) == missing
    assert {record["landed"] for record in resolved} == {"silver"}
    assert shared.query("SELECT countIf(is_confirmed) AS n, count() AS all FROM dlq_replays FINAL") == [
        {"n": missing, "all": missing}
    ]

    again = shared.json("dlq", "replay", "--yes")
    assert (again["records"], again["sent"]) == (0, 0)
    shared.run("drain")
    assert candles(shared) == truth.candles(trades, "1m")


def publish_unparsed(running: Running, frames: list[tuple[str, object]]) -> None:
    """Raw messages as they were while the parser did not recognise the frames."""
    state = DataDir(running.folder).read()
    assert state is not None
    settings = Settings.from_environment(state.environment)
    producer = Producer(kafka_client(settings))
    for code, frame in frames:
        (envelope,) = envelopes(code, json.dumps(frame).encode(), UNRECOGNISED, 1_723_161_255_400_000)
        producer.produce(settings.raw_topic(code), value=encode(envelope), key=envelope.key.encode())
    assert producer.flush(30) == 0


# Of the fast tier: offload/rederive/test_rederive_dead_letters.py has dead letters that are resolved.
@pytest.mark.nightly
def test_a_parser_that_was_fixed_brings_its_messages_through(shared: Running) -> None:
    before = candle_trades(shared)
    publish_unparsed(shared, [("binance", TRADE), ("binance", LONG), ("binance", {"weird": 1}), ("kraken", KRAKEN)])
    shared.run("drain")
    assert [(row["reason"], row["records"]) for row in shared.json("dlq", "stats")] == [("unrecognised_message", 4)]

    dry = shared.json("dlq", "replay")
    assert (dry["records"], dry["passing"], dry["sent"]) == (4, 2, 0)
    why = {change["why"]: (change["after"], change["records"]) for change in dry["changes"]}
    assert why[""] == ("", 2)
    assert all(verdict == ("unrecognised_message", 1) for reason, verdict in why.items() if reason)
    assert any("finds 2 trades" in reason for reason in why)
    assert any("does not recognise" in reason for reason in why)
    assert shared.query(f"SELECT trade_id FROM silver_trades WHERE {OWN}") == [], "a dry run sends nothing"

    done = shared.json("dlq", "replay", "--yes")
    assert (done["sent"], done["silver"], done["again"], done["pending"]) == (2, 2, 0, 0)
    cells = "trade_id, toString(price) AS price, side, toUnixTimestamp64Milli(timestamp) AS at"
    assert shared.query(f"SELECT {cells} FROM silver_trades WHERE {OWN} ORDER BY trade_id") == [
        {"trade_id": trade_id, "price": "61837.63", "side": "SELL", "at": 1723161255342} for trade_id in ("42", "43")
    ]
    assert shared.json("lineage", "verify")["holds"]
    again = shared.json("dlq", "replay", "--yes")
    assert (again["records"], again["sent"]) == (2, 0)
    assert len(shared.json("dlq", "list", "--resolved", "--reason", "unrecognised_message")) == 2
    shared.run("drain")
    assert candle_trades(shared) == before + 2


def candle_trades(running: Running) -> int:
    """How many trades the candles count."""
    ((count,),) = (row.values() for row in running.query("SELECT sum(trade_count) AS n FROM gold_ohlcv_1d"))
    return int(count)


@pytest.mark.nightly
def test_sent_twice_and_rejected_twice_it_still_counts_once(running: Running, recordings: Path) -> None:
    """A crash after the sending, before the confirmation; and a redelivery of what was rejected and sent again."""
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
