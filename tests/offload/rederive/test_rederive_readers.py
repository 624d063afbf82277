"""Who reads while a day is published sees the old version or the new one in every table of one query, and no gap."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive
from offload.run import run
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape
from tests.offload.rederive.rederiving import (
    FROM,
    HIGH,
    LOW,
    assert_is,
    day_of,
    fill,
    letters,
    limited,
    seen_day,
    within,
)

READERS = 1
DAY_AFTER = FROM + timedelta(days=1)


@pytest.fixture
def posted(settings: Settings, brokers: str) -> Settings:
    """The settings with a broker for the dead letters."""
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers})


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).gather_every(8))


class Readers:
    """Threads that ask the one query until the block ends."""

    def __init__(self, hot: HotTables) -> None:
        self._hot, self._stop = hot, threading.Event()
        self.seen: list[list[tuple[int, Decimal]]] = []
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._read) for _ in range(READERS)]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        client = self._hot.connect()
        is_last = False
        while not is_last:
            # The last look is at what is there in the end.
            is_last = self._stop.is_set()
            try:
                self.seen.append(seen_day(client))
            except ClickHouseError as error:
                self.failed.append(str(error))


def test_silver_and_all_candles_switch_at_once(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    fill(hot, trades, HIGH)
    letters(hot, trades, HIGH)
    run(Tiers.open(posted))
    low, high = day_of(within(trades, LOW)), day_of(within(trades, HIGH))
    assert low != high
    with Readers(hot) as readers:
        rederive(Tiers.open(limited(posted, tmp_path, LOW)), FROM, DAY_AFTER, exchange="binance")
    assert not readers.failed, readers.failed[:3]
    assert {value for answer in readers.seen for value in answer} == {low, high}
    mixed = [answer for answer in readers.seen if len(set(answer)) > 1]
    assert not mixed, f"{len(mixed)} of {len(readers.seen)} queries saw a mixture: {mixed[:3]}"
    assert_is(hot, posted, within(trades, LOW))


@pytest.mark.nightly
def test_candles_switch_at_once_where_silver_is_not_hot_any_more(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    fill(hot, trades, HIGH)
    run(Tiers.open(posted))
    for day in ("20240808", "20240809"):
        hot.client.command(f"ALTER TABLE silver_trades DROP PARTITION ID '{day}'")
    low, high = day_of(within(trades, LOW)), day_of(within(trades, HIGH))
    with Readers(hot) as readers:
        for limit in (LOW, HIGH):
            rederive(Tiers.open(limited(posted, tmp_path, limit)), FROM, DAY_AFTER, exchange="binance")
    assert not readers.failed, readers.failed[:3]
    assert {answer[0] for answer in readers.seen} == {(0, Decimal(0))}
    candles = [answer[1:] for answer in readers.seen]
    assert {value for answer in candles for value in answer} == {low, high}
    mixed = [answer for answer in candles if len(set(answer)) > 1]
    assert not mixed, f"{len(mixed)} of {len(candles)} queries saw a mixture: {mixed[:3]}"
    assert hot.count("silver_trades") == 0
