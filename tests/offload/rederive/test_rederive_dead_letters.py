"""Dead letters and duplicates follow a re-derivation, so that each message stays in exactly one place (invariant 1)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import orjson
import polars as pl
import pytest
from confluent_kafka import Consumer

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive
from offload.run import run
from tests.offload.hot_tables import HotTables, of_one_hour, raw_rows, read_tape, silver_rows
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, assert_proved, dead_letters, fill, limited, within

DAY_AFTER = FROM + timedelta(days=1)
LOWEST = Decimal("0.03")


@pytest.fixture
def posted(settings: Settings, brokers: str) -> Settings:
    """The settings with a broker, and a topic of its own for the dead letters."""
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers, "dlq_topic": f"letters_{uuid4().hex}"})


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).filter(pl.col("time").dt.day() == 8).gather_every(16))


def from_topic(settings: Settings, count: int) -> list[dict[str, object]]:
    """The first dead letters of the DLQ topic, as its readers see them."""
    servers = settings.kafka_bootstrap_servers
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    found: list[dict[str, object]] = []
    consumer.subscribe([settings.dlq_topic])
    while len(found) < count:
        message = consumer.poll(30)
        assert message is not None, f"{len(found)} dead letters and no more"
        found.append(orjson.loads(message.value()))
    consumer.close()
    return found


def test_dead_letters_come_and_are_resolved(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    """What passes now has no dead letter that is open; what is rejected now has one, in SQL and on the topic."""
    low, high, lowest = (within(trades, limit) for limit in (LOW, HIGH, LOWEST))
    fill(hot, trades, LOW)
    dead_letters(hot, trades, LOW)
    run(Tiers.open(posted))
    beyond = trades.height - high.height
    gained = high.height - low.height
    (report,) = rederive(Tiers.open(limited(posted, tmp_path, HIGH)), FROM, DAY_AFTER, exchange="binance")
    assert (report.added, report.letters_added, report.letters_resolved) == (gained, 0, gained)
    assert_proved(posted, high.height, 0, beyond)
    landed = hot.client.query("SELECT landed, is_confirmed, count() FROM dlq_resolutions GROUP BY ALL").result_rows
    assert landed == [("silver", 1, gained)]

    # Back and further: what was confirmed is so no more, and others have their first dead letter.
    lost = high.height - lowest.height
    (report,) = rederive(Tiers.open(limited(posted, tmp_path, LOWEST)), FROM, DAY_AFTER, exchange="binance")
    assert (report.removed, report.letters_added, report.letters_resolved) == (lost, lost, 0)
    assert_proved(posted, lowest.height, 0, beyond + lost)
    gone = low.join(lowest, on="trade_id", how="anti")
    assert lost - gained == gone.height > 0
    reasons = hot.client.query(
        "SELECT toString(reason), limit, count() FROM dlq_trades WHERE rules_version != '' GROUP BY ALL"
    ).result_rows
    assert reasons == [("quantity_above_limit", str(LOWEST), gone.height)]
    sent = from_topic(posted, gone.height)
    assert {str(dead_letter["trade_id"]) for dead_letter in sent} == set(gone["trade_id"])
    assert all("payload" in dead_letter and dead_letter["payload_bytes"] for dead_letter in sent)


@pytest.mark.nightly
def test_of_two_messages_of_a_trade_one_is_its_duplicate(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    """The exchange sends every trade twice, the second time with another sequence, so that Bronze keeps both."""
    low, high = within(trades, LOW), within(trades, HIGH)
    again = trades.with_columns(pl.col("offset") + 1_000_000, pl.col("arrived") + pl.duration(minutes=1))
    both = pl.concat([raw_rows(trades), raw_rows(again).with_columns(pl.col("trade_id").alias("sequence"))])
    hot.insert("trades_raw", both)
    hot.insert("silver_trades", silver_rows(high))
    dead_letters(hot, trades, HIGH)
    dead_letters(hot, again, HIGH)
    counted = within(again, HIGH)
    hot.insert("duplicate_trades", silver_rows(counted).select(_DUPLICATE))
    run(Tiers.open(posted))
    beyond = trades.height - high.height
    assert_proved(posted, high.height, high.height, 2 * beyond)
    rederive(Tiers.open(limited(posted, tmp_path, LOW)), FROM, DAY_AFTER, exchange="binance")
    assert_proved(posted, low.height, low.height, 2 * (trades.height - low.height))


@pytest.mark.nightly
def test_dead_letters_of_days_that_are_not_hot_are_resolved_too(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    high = within(trades, HIGH)
    fill(hot, trades, LOW)
    dead_letters(hot, trades, LOW)
    run(Tiers.open(posted))
    hot.client.command("ALTER TABLE silver_trades DROP PARTITION ID '20240808'")
    rederive(Tiers.open(limited(posted, tmp_path, HIGH)), FROM, DAY_AFTER, exchange="binance")
    assert hot.count("dlq_trades") == trades.height - high.height


_DUPLICATE = [
    "exchange",
    "symbol",
    "trade_id",
    "timestamp",
    "raw_topic",
    "raw_partition",
    "raw_offset",
    "published_at",
    "bronze_partition",
    "bronze_offset",
    "insert_token",
]
