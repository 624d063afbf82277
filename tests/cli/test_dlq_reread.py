"""Dead letters that Bronze could not read come through once a parser reads them (invariants 1, 2 and 4)."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Producer

from config.connections import kafka_client
from config.settings import Settings
from deploy.embedded.layout import DataDir
from producers.exchanges.model import UNRECOGNISED
from producers.kafka.envelope import encode, envelopes
from tests.cli.conftest import Running

pytestmark = pytest.mark.stack

TRADE = {"e": "trade", "s": "BTCUSDT", "t": 42, "p": "61837.630", "q": "0.02", "T": 1723161255342, "m": True}
LONG = {**TRADE, "t": 43, "pad": "x" * 80_000}
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


def test_a_parser_that_was_mended_brings_its_messages_through(running: Running) -> None:
    publish_unparsed(running, [("binance", TRADE), ("binance", LONG), ("binance", {"weird": 1}), ("kraken", KRAKEN)])
    running.run("drain")
    assert [(row["reason"], row["records"]) for row in running.json("dlq", "stats")] == [("unrecognised_message", 4)]

    dry = running.json("dlq", "replay")
    assert (dry["records"], dry["passing"], dry["sent"]) == (4, 2, 0)
    why = {change["why"]: (change["after"], change["records"]) for change in dry["changes"]}
    assert why[""] == ("", 2)
    assert all(verdict == ("unrecognised_message", 1) for reason, verdict in why.items() if reason)
    assert any("finds 2 trades" in reason for reason in why)
    assert any("does not recognise" in reason for reason in why)
    assert running.query("SELECT count() AS n FROM silver_trades") == [{"n": 0}], "a dry run sends nothing"

    done = running.json("dlq", "replay", "--yes")
    assert (done["sent"], done["silver"], done["again"], done["pending"]) == (2, 2, 0, 0)
    cells = "trade_id, toString(price) AS price, side, toUnixTimestamp64Milli(timestamp) AS at"
    assert running.query(f"SELECT {cells} FROM silver_trades ORDER BY trade_id") == [
        {"trade_id": trade_id, "price": "61837.63", "side": "SELL", "at": 1723161255342} for trade_id in ("42", "43")
    ]
    assert running.json("lineage", "verify")["holds"]
    again = running.json("dlq", "replay", "--yes")
    assert (again["records"], again["sent"]) == (2, 0)
    assert len(running.json("dlq", "list", "--resolved")) == 2
    running.run("drain")
    assert running.query("SELECT sum(trade_count) AS n FROM gold_ohlcv_1d") == [{"n": 2}]
