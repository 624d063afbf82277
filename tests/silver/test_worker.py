"""The Silver worker as a process, between a real Kafka protocol and a real engine."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml

from config.settings import Settings
from producers.exchanges import REGISTRY as EXCHANGES
from producers.kafka.envelope import encode, envelopes
from schemas.records import BronzeTrade
from schemas.wire import avro_schema
from silver_processor.core.latency import STAGES
from silver_processor.group.shards import partition_of
from tests.silver.bronze import MARKET, NAMES, TRADE
from tests.silver.journey import CASES
from tests.silver.stack import Stack, Worker, wait_until

AVRO = fastavro.parse_schema(avro_schema(BronzeTrade))
BRONZE_TOPIC = "market.crypto.trades.bronze"
NUMBERS = itertools.count(1)
# A round costs a session time-out and two rebalances.
ROUNDS = 1
SHARDS, PARTITIONS = 4, 4
TRADES = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, applied: Path) -> Iterator[Stack]:
    """With the shipped symbols, of which Kraken's BTC/USD has more names, and shards for several workers."""
    folder = tmp_path_factory.mktemp("silver")
    symbols = folder / "symbols.yaml"
    document = yaml.load(Settings().symbols_file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    document["exchanges"]["kraken"]["BTC/USD"] = MARKET
    symbols.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MEDALLION_SYMBOLS_FILE", str(symbols))
        with Stack(folder, applied, shards=SHARDS, partitions=PARTITIONS) as started:
            yield started


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Worker:
    """The one worker of these tests."""
    started = stack.start_worker()
    started.wait_ready()
    return started


def trades(symbol: str, count: int, **changes: Any) -> list[dict[str, Any]]:
    """New trades, in seconds of two days, so that an insert spans partitions of Silver."""
    moments = (datetime(2024, 8, 8 + place % 2, 23, 54, place % 60, tzinfo=UTC) for place in range(count))
    return [
        TRADE | {"symbol": symbol, "trade_id": str(number), "raw_offset": number, "timestamp": moment} | changes
        for number, moment in zip(NUMBERS, moments, strict=False)
    ]


def message(rows: list[dict[str, Any]]) -> bytes:
    body = io.BytesIO()
    fastavro.writer(body, AVRO, rows, codec="deflate")
    return body.getvalue()


def counts(stack: Stack, symbol: str) -> tuple[int, int, int]:
    """Silver rows of Binance's spot market, distinct trade ids, and what the candles count."""
    market = f"WHERE exchange = 'binance' AND symbol = '{symbol}'"
    ((rows, ids),) = stack.select(f"SELECT count(), uniqExact(trade_id) FROM medallion.silver_trades {market}")
    ((candles,),) = stack.select(f"SELECT sum(trade_count) FROM medallion.gold_ohlcv_1m {market}")
    return rows, ids, candles


def test_valid_duplicate_reject_and_garbage_each_end_in_their_place(stack: Stack, worker: Worker) -> None:
    """Invariants 1 and 5. The first test of its worker: its counts begin at 0."""
    fresh = trades("BTCUSDT", 100)
    again = fresh[0] | {"raw_offset": next(NUMBERS)}
    other = fresh[2] | {"raw_offset": next(NUMBERS), "side": "BUY"}
    bad = TRADE | {"price_text": "NaN", "raw_offset": next(NUMBERS), "trade_id": "bad"}
    redelivered = fresh[1]
    stack.publish(BRONZE_TOPIC, message(fresh))
    stack.publish(BRONZE_TOPIC, b"garbage")
    stack.publish(BRONZE_TOPIC, message([again, bad, other, redelivered]))
    last = trades("BTCUSDT", 1)
    stack.publish(BRONZE_TOPIC, message(last))
    wait_until(lambda: counts(stack, "BTCUSDT") == (101, 101, 101))
    wait_until(lambda: stack.select("SELECT count() FROM medallion.dlq_trades") == [(3,)])
    duplicates = stack.select("SELECT raw_offset FROM medallion.duplicate_trades FINAL")
    assert duplicates == [(again["raw_offset"],)], "a row delivered twice is no duplicate"
    rejects = stack.select("SELECT reason, value, payload, raw_offset FROM medallion.dlq_trades ORDER BY reason")
    assert rejects[0][0] == "bronze_unreadable"
    assert rejects[0][2] == "garbage"
    assert rejects[1] == ("price_not_a_number", "NaN", "", bad["raw_offset"])
    assert rejects[2] == ("trade_contradicts", "side BUY", "", other["raw_offset"])
    metrics = worker.metrics()
    assert metrics["medallion_silver_valid_total"] == 101
    assert metrics["medallion_silver_rows_total"] == 103 + 3
    assert metrics["medallion_silver_batch_rows_sum"] == metrics["medallion_silver_rows_total"]
    assert metrics["medallion_silver_insert_seconds_count"] == metrics["medallion_silver_batch_rows_count"]
    wait_until(lambda: worker.metrics()["medallion_silver_index_ids"] == 101)
    measured = worker.metrics()
    assert (measured["medallion_silver_index_markets"], measured["medallion_silver_waiting_rows"]) == (1, 0)
    assert 0 < measured["medallion_silver_index_bytes"] < 50_000
    wait_until(lambda: worker.metrics()['medallion_silver_lag_messages{partition="0"}'] == 0)
    for reason in ("price_not_a_number", "trade_contradicts"):
        assert metrics[f'medallion_silver_rejects_total{{reason="{reason}"}}'] == 1
    assert metrics["medallion_silver_not_compared_total"] == 0
    for stage in STAGES:
        assert metrics[f'medallion_trade_latency_seconds_count{{exchange="binance",stage="{stage}"}}'] == 101
    by_row = stack.select("SELECT sum(pipeline_seconds), sum(queue_seconds) FROM medallion.pipeline_latency")
    (whole, queue), labels = by_row[0], 'exchange="binance",stage='
    sums = {stage: metrics[f'medallion_trade_latency_seconds_sum{{{labels}"{stage}"}}'] for stage in STAGES}
    assert sums["queue"] == pytest.approx(queue, rel=1e-12)
    # What the rows cannot tell is the insert itself.
    assert sums["pipeline"] == pytest.approx(whole + sums["silver"], rel=1e-12)
    assert 0 < sums["silver"] < 101 * 30


def replay(stack: Stack, code: str, case: str, name: str) -> None:
    for frame in (CASES / case / name).read_bytes().splitlines():
        for envelope in envelopes(code, frame, EXCHANGES[code].parse(frame), 1_795_845_602_000_000):
            stack.publish(f"market.crypto.trades.{code}.raw", encode(envelope))


def test_each_match_counts_once_and_kinds_as_the_exchange_counts_them(stack: Stack, worker: Worker) -> None:
    """The whole way, from the exchange's frames to the candles of ClickHouse's views."""
    okx, usdm = "okx-trades-then-trades-all", "binance-usdm-insurance-fund"
    replay(stack, "okx", okx, "trades.jsonl")
    replay(stack, "binance_usdm", usdm, "frames.jsonl")
    placed = "SELECT (SELECT count() FROM medallion.{}) FROM system.one"
    in_silver = "silver_trades WHERE exchange IN ('okx', 'binance_usdm')"
    wait_until(lambda: stack.select(placed.format(in_silver)) == [(2 + 4,)])
    replay(stack, "okx", okx, "trades-all.jsonl")
    wait_until(lambda: stack.select(placed.format("duplicate_trades FINAL WHERE exchange = 'okx'")) == [(4,)])
    assert stack.select(
        "SELECT toString(exchange), toString(open), toString(high), toString(low), toString(close),"
        " toString(volume), trade_count FROM medallion.gold_ohlcv_1m WHERE exchange IN ('okx', 'binance_usdm')"
        " ORDER BY exchange"
    ) == [
        ("binance_usdm", "2500", "2500.1", "2500", "2500.1", "2", 2),
        ("okx", "63000.1", "63000.2", "63000.1", "63000.2", "0.7", 4),
    ]
    kinds = (
        "SELECT toString(trade_kind), match_count FROM medallion.silver_trades WHERE exchange = 'binance_usdm'"
        " ORDER BY trade_id"
    )
    assert stack.select(kinds) == [("market", 1), ("insurance_fund", 1), ("adl", 1), ("market", 1)]
    # A sum of which Silver has three matches out of four.
    partly = b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"700000005",'
    partly += b'"px":"63000.1","sz":"0.9","side":"buy","ts":"1795845601000","count":"4","source":"0"}]}'
    (envelope,) = envelopes("okx", partly, EXCHANGES["okx"].parse(partly), 1_795_845_602_000_000)
    stack.publish("market.crypto.trades.okx.raw", encode(envelope))
    dead_letters = (
        "SELECT reason, field, value, limit, matches, trade_id FROM medallion.dlq_trades WHERE exchange = 'okx'"
    )
    known = "700000002-700000004 of 700000002-700000005"
    wait_until(
        lambda: stack.select(dead_letters) == [("matches_partly_known", "matches", "4", known, "4", "700000005")]
    )
    assert worker.metrics()['medallion_silver_rejects_total{reason="matches_partly_known"}'] == 1


def test_a_raw_message_comes_out_of_the_dead_letter_queue_byte_for_byte(stack: Stack, worker: Worker) -> None:
    """The whole way: raw topic, trades_raw, Bronze, Silver, dead letter with the payload of the raw message."""
    envelope = {
        **dict.fromkeys(("symbol", "trade_id", "price", "quantity", "timestamp", "side", "sequence"), ""),
        "exchange": "binance",
        "received_at": 1723161255342000,
        "payload": '{"weird": "ünï\\u0000cödé"}',
    }
    raw = json.dumps(envelope, ensure_ascii=False).encode()
    stack.publish("market.crypto.trades.binance.raw", raw)
    where = "WHERE reason = 'unrecognised_message'"
    wait_until(lambda: stack.select(f"SELECT count() FROM medallion.dlq_trades {where}") == [(1,)])
    ((payload,),) = stack.select(f"SELECT payload FROM medallion.dlq_trades {where}")
    assert payload.encode() == raw


def raw(name: str, trade_id: int) -> bytes:
    """A raw envelope of a trade under one of the market's names."""
    return json.dumps(
        {
            "exchange": "kraken",
            "symbol": name,
            "trade_id": str(trade_id),
            "price": "61837.63",
            "quantity": "0.5",
            "timestamp": "1723161255342",
            "side": "BUY",
            "sequence": "",
            "received_at": 1_723_161_255_342_000,
            "payload": "{}",
        }
    ).encode()


# Of the fast tier: silver/core has the names of a market, silver/seen what is a duplicate.
@pytest.mark.nightly
def test_each_trade_counts_once_whatever_name_it_came_by(stack: Stack, worker: Worker) -> None:
    """Invariants 1 and 2, the whole way from the raw topic over two workers and a partition for each."""
    hashes = ", ".join(f"cityHash64('kraken', '{name}') % {SHARDS}" for name in NAMES)
    ((shards,),) = stack.select(f"SELECT [{hashes}]")
    assert len({partition_of(int(shard), PARTITIONS) for shard in shards}) > 1, "or the names reach one worker anyway"
    other = stack.start_worker()
    other.wait_ready()
    workers = [worker, other]
    for trade_id in range(TRADES):
        for name in NAMES:
            stack.producer.produce("market.crypto.trades.kraken.raw", value=raw(name, trade_id))
    assert stack.producer.flush(30) == 0
    kraken = "WHERE exchange = 'kraken'"
    ends = (
        f"SELECT (SELECT count() FROM medallion.silver_trades {kraken})"
        f" + (SELECT count() FROM medallion.duplicate_trades FINAL {kraken})"
    )
    wait_until(lambda: stack.select(ends) == [(TRADES * len(NAMES),)])
    cells = "count(), uniqExact(trade_id), uniqExact(bronze_partition)"
    assert stack.select(f"SELECT {cells} FROM medallion.silver_trades {kraken}") == [(TRADES, TRADES, 1)]
    assert stack.select(f"SELECT sum(trade_count) FROM medallion.gold_ohlcv_1m {kraken}") == [(TRADES,)]
    assert stack.select(f"SELECT count() FROM medallion.dlq_trades {kraken}") == [(0,)]
    metrics = [worker.metrics() for worker in workers]
    routed = sum(values["medallion_silver_alias_routed_total"] for values in metrics)
    assert routed > 0
    # The metric's old name stays for a release.
    assert sum(values["medallion_silver_sent_home_total"] for values in metrics) == routed
    assert other.stop() == 0


def test_clickhouse_away_is_waited_for(stack: Stack, worker: Worker) -> None:
    """Nothing is lost or skipped while the server is away; the worker stays in the group and goes on by itself.

    SIGTERM then ends it in order.
    """
    stack.publish(BRONZE_TOPIC, message(trades("XRPUSDT", 50)))
    wait_until(lambda: counts(stack, "XRPUSDT") == (50, 50, 50))
    stack.stop_node()
    stack.publish(BRONZE_TOPIC, message(trades("XRPUSDT", 50)))
    stack.publish(BRONZE_TOPIC, message(trades("XRPUSDT", 50)))
    stack.start_node()
    wait_until(lambda: counts(stack, "XRPUSDT") == (150, 150, 150))
    assert worker.stop() == 0


# The storms in tests/chaos kill either of two workers, too.
@pytest.mark.nightly
def test_two_workers_one_killed_again_and_again(stack: Stack) -> None:
    """Invariant 2: SIGKILL in the middle of inserts, takeover by the other worker, restart; each trade counts once."""
    symbols = ("ETHUSDT", "SOLUSDT")
    steady, doomed = stack.start_worker(), stack.start_worker()
    steady.wait_ready()
    doomed.wait_ready()
    total = dict.fromkeys(symbols, 0)
    for _ in range(ROUNDS):
        for _ in range(6):
            for partition, symbol in enumerate(symbols):
                stack.publish(BRONZE_TOPIC, message(trades(symbol, 500)), partition)
                total[symbol] += 500
        before = {symbol: total[symbol] - 3000 for symbol in symbols}
        wait_until(lambda before=before: any(counts(stack, s)[0] > before[s] for s in symbols))
        doomed.kill()
        doomed = stack.start_worker()
        doomed.wait_ready()
    for symbol in symbols:
        wait_until(lambda symbol=symbol: counts(stack, symbol) == (total[symbol],) * 3)
    assert steady.stop() == 0
    assert doomed.stop() == 0
    ((duplicates,),) = stack.select(
        "SELECT count() FROM medallion.duplicate_trades FINAL WHERE symbol IN ('ETHUSDT', 'SOLUSDT')"
    )
    assert duplicates == 0
