"""Measures how fast bars get from a provider's answers to the current rows, and the obvious way: an INSERT a row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from clickhouse_driver import Client

from bench.isolated import Lap, lap
from bench.node import Node, node
from bench.plan import Plan
from config.connections import clickhouse_native
from series.answer import Answer
from series.declaration import series_named
from series.providers.binance_klines import of_answer
from series.store import SeriesStore
from series.storing import Storing

# The most klines of one answer of Binance.
_ANSWER = 1_000
_MINUTE_MS = 60_000
_BEGINS_MS = 1_704_067_200_000
# Only one bar in so many is inserted row by row: this is slow, and its rate does not depend on the number of rows.
_ROW_WISE_PART = 200
_MARKET = {"exchange": "binance", "symbol": "BTCUSDT", "frame": "1m"}
_CREATE = (Path(__file__).with_name("sql") / "row_wise_bars.sql").read_text(encoding="utf-8")


class BarsError(RuntimeError):
    """Rows are missing after an insert."""


def measure(plan: Plan, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure both ways. Figures are medians over the runs; before them, one run that does not count.

    With one run there is none before it.

    Raises:
        BarsError, bench.node.NodeError: an insert lost rows; the node did not start.
    """
    with node() as started:
        _client(started).execute(_CREATE)
        ways = (
            ("answers", plan.bars, _landed),
            ("row-wise", plan.bars // _ROW_WISE_PART, _row_wise),
        )
        found = []
        begins_ms = _BEGINS_MS
        for name, bars, way in ways:
            laps = []
            for _ in range(plan.runs + (plan.runs > 1)):
                laps.append(way(started, list(_answers(bars, begins_ms))))
                begins_ms += bars * _MINUTE_MS
            found.append(_figures(name, laps[plan.runs > 1 :]))
            say(f"Bars, {name}: {found[-1]['rows_per_s']:,.0f} rows/s")
    for one in found:
        one["times_row_wise"] = one["rows_per_s"] / found[-1]["rows_per_s"]
    return found


def _answers(bars: int, begins_ms: int) -> Iterator[bytes]:
    """Bodies as Binance sends them, with minutes in sequence."""
    for start in range(0, bars, _ANSWER):
        yield msgspec.json.encode(
            [_kline(begins_ms + place * _MINUTE_MS, place) for place in range(start, min(start + _ANSWER, bars))]
        )


def _kline(opens_ms: int, place: int) -> list[object]:
    low = Decimal(6_000_000 + place * 7919 % 100_000).scaleb(-2)
    volume = Decimal(100_000 + place * 104_729 % 1_000_000).scaleb(-5)
    prices = (low + Decimal("0.5"), low + 2, low, low + 1)
    return [
        opens_ms,
        *(str(price) for price in prices),
        str(volume),
        opens_ms + _MINUTE_MS - 1,
        str(volume * low),
        1_000 + place % 500,
        str(volume / 2),
        str(volume / 2 * low),
        "0",
    ]


def _landed(started: Node, bodies: Sequence[bytes]) -> Lap:
    """The product's way: read each answer, and insert it. All views have run when the insert returns."""
    series = series_named("bars")
    store = SeriesStore(started.settings)
    client = _client(started)
    rows = sum(len(msgspec.json.decode(body)) for body in bodies)
    before = _count(client, "bars_current")

    async def work() -> None:
        async with Storing(partial(store.insert, series)) as storing:
            for body in bodies:
                received_us = time.time_ns() // 1_000
                await storing.add(Answer("ccxt", "klines", received_us, body, of_answer(body, _MARKET)))
                # As in the product, where the loop waits for each answer of the provider.
                await asyncio.sleep(0)

    taken = lap(rows, lambda: asyncio.run(work()), [started.process])
    _all_there(client, "bars_current", before + rows)
    store.close()
    return taken


def _row_wise(started: Node, bodies: Sequence[bytes]) -> Lap:
    """The obvious way: read each answer, and insert its rows one by one into one table."""
    client = _client(started)
    rows = sum(len(msgspec.json.decode(body)) for body in bodies)
    before = _count(client, "bars_row_wise")

    def work() -> None:
        for body in bodies:
            for row in of_answer(body, _MARKET):
                client.execute("INSERT INTO bars_row_wise VALUES", [_values(row)])

    taken = lap(rows, work, [started.process])
    _all_there(client, "bars_row_wise", before + rows)
    return taken


def _client(started: Node) -> Client:
    return Client(**clickhouse_native(started.settings), database=started.settings.clickhouse_database)


def _values(row: Any) -> tuple[object, ...]:
    began = datetime.fromtimestamp(int(row["window_start"]) / 1_000, UTC)
    amounts = [Decimal(row[name]) for name in ("open", "high", "low", "close", "volume", "quote_volume")]
    market = (row["exchange"], row["symbol"], row["frame"], began)
    return (*market, *amounts, int(row["trade_count"]), Decimal(row["buy_volume"]), datetime.now(UTC))


def _count(client: Client, table: str) -> int:
    ((rows,),) = client.execute(f"SELECT count() FROM {table} FINAL")
    return int(rows)


def _all_there(client: Client, table: str, rows: int) -> None:
    found = _count(client, table)
    if found != rows:
        raise BarsError(f"{table} has {found:,} rows, not {rows:,}")


def _figures(name: str, laps: Sequence[Lap]) -> dict[str, Any]:
    rates = [one.rows / one.wall_s for one in laps]
    return {
        "kind": name,
        "rows": laps[0].rows,
        "rows_per_s": median(rates),
        "slowest_rows_per_s": min(rates),
        "fastest_rows_per_s": max(rates),
        "cpu_us_per_row": median(one.cpu_s / one.rows * 1e6 for one in laps),
    }
