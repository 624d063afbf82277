"""The taker-buy quote volume of a candle is that of its trades now, whether it is remembered or not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from config.settings import Settings
from serving.market_data import buyers
from serving.market_data.candles import Candles
from serving.market_data.hot_reader import HotReader
from serving.market_data.hot_start import HotStart
from serving.market_data.intervals import INTERVALS, Interval
from tests.offload.hot_tables import HotTables, silver_rows

FIRST = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
MARKET = ("kraken", "BTCUSD")


def trades(*said: tuple[int, int, str, str], arrived: datetime = FIRST) -> pl.DataFrame:
    """`said`: id, minute, side, quantity of each."""
    rows = [
        {"exchange": "kraken", "symbol": "BTCUSD", "trade_id": f"{number}", "side": side, "offset": number}
        | {"price": f"{100 + number}.5", "qty": quantity, "time": FIRST + timedelta(minutes=minute), "arrived": arrived}
        for number, minute, side, quantity in said
    ]
    times = {"time": pl.Datetime("us", "UTC"), "arrived": pl.Datetime("us", "UTC"), "offset": pl.UInt64}
    return pl.DataFrame(rows, schema_overrides=times)


def bought(of: pl.DataFrame, length: timedelta) -> dict[int, Decimal]:
    """Quote volume of the buys by window (s), by polars."""
    buys = of.filter(pl.col("side") == "BUY").select(
        pl.col("time").dt.truncate(length).dt.epoch("s"), price=pl.col("price"), quantity=pl.col("qty")
    )
    windows = dict.fromkeys(of["time"].dt.truncate(length).dt.epoch("s").to_list(), Decimal(0))
    for opened, price, quantity in buys.iter_rows():
        windows[opened] += Decimal(price) * Decimal(quantity)
    return windows


class Counting(HotReader):
    """Remembers the parameters of each question about trades."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked: list[Mapping[str, Any]] = []

    async def rows(self, name: str, parameters: Mapping[str, Any], *, within: int = 10, **names: object) -> list[Any]:
        if name == "buyers":
            self.asked.append(parameters)
        return await super().rows(name, parameters, within=within, **names)


async def told(candles: Candles, interval: Interval) -> dict[int, Decimal]:
    rows = await candles.rows(interval, [MARKET], 1000, with_state=False)
    await candles.add_buyers(interval, rows)
    return {row["opened"]: Decimal(row["buy_quote_volume"]) for row in rows}


@pytest.mark.parametrize("code", ["1m", "3m"])
def test_only_candles_that_changed_are_summed_again(settings: Settings, hot: HotTables, code: str) -> None:
    interval = INTERVALS[code]
    length = timedelta(seconds=interval.seconds)
    all_of_them = trades(*((number, number // 2, ("BUY", "SELL")[number % 3 == 1], "0.25") for number in range(12)))
    hot.insert("silver_trades", silver_rows(all_of_them))

    async def run() -> None:
        nonlocal all_of_them
        reader = Counting(settings)
        candles = Candles(reader)
        try:
            assert await told(candles, interval) == bought(all_of_them, length)
            assert await told(candles, interval) == bought(all_of_them, length)
            assert len(reader.asked) == 1
            late = trades((100, 5, "BUY", "3"), arrived=FIRST + timedelta(hours=1))
            hot.insert("silver_trades", silver_rows(late))
            all_of_them = pl.concat([all_of_them, late])
            assert await told(candles, interval) == bought(all_of_them, length)
            changed = int((FIRST + timedelta(minutes=5)).timestamp()) // interval.seconds * interval.seconds
            assert [(one["from"], one["until"]) for one in reader.asked[1:]] == [(changed, changed + interval.seconds)]
        finally:
            await reader.close()

    asyncio.run(run())


def test_a_trade_that_comes_between_two_questions_is_left_out(settings: Settings, hot: HotTables) -> None:
    interval = INTERVALS["3m"]
    read = trades((1, 0, "BUY", "0.25"), (2, 1, "SELL", "0.5"), (3, 2, "BUY", "0.5"))
    hot.insert("silver_trades", silver_rows(read))

    async def run() -> None:
        reader = HotReader(settings)
        candles = Candles(reader)
        try:
            rows = await candles.rows(interval, [MARKET], 1000, with_state=False)
            late = trades((4, 1, "BUY", "3"), arrived=FIRST + timedelta(hours=1))
            hot.insert("silver_trades", silver_rows(late))
            await candles.add_buyers(interval, rows)
            told = {row["opened"]: Decimal(row["buy_quote_volume"]) for row in rows}
            assert told == bought(read, timedelta(minutes=3))
        finally:
            await reader.close()

    asyncio.run(run())


def test_another_side_of_the_same_trade_is_another_candle(settings: Settings, hot: HotTables) -> None:
    """A correction may change neither the number nor the time of a candle's trades."""
    interval = INTERVALS["1m"]
    before = trades((1, 0, "BUY", "0.25"), (2, 0, "SELL", "0.5"))
    after = trades((1, 0, "BUY", "0.25"), (2, 0, "BUY", "0.5"))
    hot.insert("silver_trades", silver_rows(before))

    async def run() -> None:
        reader = Counting(settings)
        candles = Candles(reader)
        try:
            assert await told(candles, interval) == bought(before, timedelta(minutes=1))
            for table in ("silver_trades", "gold_ohlcv_state"):
                hot.client.command(f"TRUNCATE TABLE {table}")
            hot.insert("silver_trades", silver_rows(after))
            assert await told(candles, interval) == bought(after, timedelta(minutes=1))
        finally:
            await reader.close()

    asyncio.run(run())


def test_no_more_candles_are_remembered_than_allowed(settings: Settings, hot: HotTables) -> None:
    interval = INTERVALS["1m"]
    hot.insert("silver_trades", silver_rows(trades(*((number, number, "BUY", "1") for number in range(1, 6)))))

    async def run() -> None:
        reader = Counting(settings)
        candles, few = Candles(reader), buyers.Buyers(reader, HotStart(reader), most=2)
        try:
            rows = await candles.rows(interval, [MARKET], 1000, with_state=False)
            for _ in range(2):
                await few.add(interval, [dict(row) for row in rows])
            # The oldest three are forgotten: they are read again.
            opened = [row["opened"] for row in rows]
            assert [(one["from"], one["until"]) for one in reader.asked] == [
                (opened[0], opened[-1] + 60),
                (opened[0], opened[2] + 60),
            ]
        finally:
            await reader.close()

    asyncio.run(run())
