"""Invariant: `producer_gaps` shows each gap once, in its newest state, and joins to the candles of its time."""

from __future__ import annotations

from typing import cast

import polars as pl

from config.settings import Settings
from producers.gaps.events import GapEvents
from producers.gaps.gap import HEALED, OPEN, UNFILLABLE, Gap
from producers.gaps.id_ranges import IdRanges
from producers.kafka.publisher import KafkaPublisher
from tests.ddl.engine import Engine

DETECTED_US = 1_760_000_100_000_000


class Events:
    """A publisher that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes, bytes]] = []

    def publish_event(self, topic: str, key: bytes, value: bytes) -> None:
        self.told.append((topic, key, value))


def gap(symbol: str, first: int, last: int, state: str = OPEN) -> Gap:
    ids = IdRanges(first, last)
    times = (1_760_000_000_000_000, 1_760_000_090_000_000)
    return Gap(symbol, str(first), str(last), *times, ids.count, DETECTED_US, ids, state=state)


def test_states_of_a_gap_are_one_row_with_the_candles_symbol(engine: Engine, warehouse: Settings) -> None:
    settings = warehouse
    database = settings.clickhouse_database
    notes = Events()
    tell = GapEvents(cast(KafkaPublisher, notes), settings, "kraken")
    first, second, unmapped = gap("BTC/USD", 5, 9), gap("BTC/USD", 20, 20), gap("??", 1, 2, UNFILLABLE)
    for one in (first, second, unmapped):
        tell(one)
    assert first.ids is not None
    for number in range(5, 10):
        first.ids.discard(number)
    first.state, first.healed_us = HEALED, DETECTED_US + 1
    tell(first)
    assert {(topic, key) for topic, key, _ in notes.told} == {
        ("market.crypto.producer.gaps", b"kraken:BTC/USD"),
        ("market.crypto.producer.gaps", b"kraken:??"),
    }
    values = [value for _, _, value in notes.told] + [b"no JSON"]
    engine.insert(
        f"{database}.producer_gaps_queue", pl.DataFrame({"raw_data": pl.Series(values[::-1], dtype=pl.Binary)})
    )
    rows = engine.execute(
        "SELECT symbol, from_id, to_id, ids_missing, ids_open, state, isNull(healed_at),"
        " toUnixTimestamp64Micro(from_time), toUnixTimestamp64Micro(to_time)"
        f" FROM {database}.producer_gaps ORDER BY symbol, toUInt64(from_id)"
    )
    times = (1_760_000_000_000_000, 1_760_000_090_000_000)
    assert [tuple(row) for row in rows] == [
        ("??", "1", "2", 2, 2, "unfillable", 1, *times),
        ("BTCUSD", "5", "9", 5, 0, "healed", 0, *times),
        ("BTCUSD", "20", "20", 1, 1, "open", 1, *times),
    ]
