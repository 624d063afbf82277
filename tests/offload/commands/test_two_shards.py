"""A day is re-derived on two shards: every market follows, whole and on its own shard, whatever dies between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive
from offload.run import run
from silver_processor.clickhouse import ClickHouse, SilverPausedError
from silver_processor.retry import RetryPolicy
from tests.offload.commands.shards import DATABASES, OverPair, PairOfShards, Readers, into
from tests.offload.conftest import Node
from tests.offload.hot_tables import of_one_hour, raw_rows, read_tape, silver_rows
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, assert_is, limited, of_exchange

MARKETS = [("binance", "BTCUSDT"), ("binance", "ETHUSDT"), ("binance_usdm", "BTCUSDT"), ("binance_usdm", "ETHUSDT")]
# Trades and volume of each market.
Seen = dict[tuple[str, str], tuple[int, Decimal]]
# Called with the database and the statement before it is sent.
Before = Callable[[str, str], object]
DAY_AFTER = FROM + timedelta(days=1)
# The day is replaced on one shard and not on the other.
BETWEEN = ("silver_trades REPLACE PARTITION", 2)
# In the order in which they come.
STEPS = (
    ("CREATE OR REPLACE VIEW pair_all.gold_ohlcv_15m (", 2),
    ("silver_trades ADD CONSTRAINT", 2),
    ("INSERT INTO silver_trades_staged", 2),
    ("silver_trades REPLACE PARTITION", 1),
    ("INSERT rederivations", 3),
    ("gold_ohlcv_state DELETE", 1),
    ("INSERT INTO gold_ohlcv_state", 1),
    ("gold_ohlcv_state DELETE", 2),
    ("silver_trades DROP CONSTRAINT", 4),
    ("INSERT rederivations", 4),
    ("TRUNCATE TABLE silver_trades_staged", 4),
)


class DiedError(Exception):
    """Stands for a SIGKILL at this statement."""


def dying(at: str, number: int) -> Before:
    """Dies at the `number`-th statement that has this text. A dead process sends no more statements either."""
    left = number

    def before(_database: str, sql: str) -> None:
        nonlocal left
        left -= left > 0 and at in " ".join(sql.split())
        if not left:
            raise DiedError

    return before


def within(trades: pl.DataFrame, limit: Decimal) -> pl.DataFrame:
    """What a quantity limit of Binance's two symbols lets through; its futures have none."""
    quantity = pl.col("qty").str.to_decimal(scale=18)
    return trades.filter((pl.col("exchange") != "binance") | (quantity <= pl.lit(limit)))


class Stack:
    """Trades of a day on two shards and in Iceberg, as `limit` makes them."""

    def __init__(self, pair: PairOfShards, settings: Settings, trades: pl.DataFrame, folder: Path) -> None:
        self.pair, self.settings, self.trades, self._folder = pair, settings, trades, folder
        self.limit = LOW
        self.readers = Readers(settings)
        pair.insert("trades_raw", raw_rows(trades))
        pair.insert("silver_trades", silver_rows(within(trades, LOW)))
        self.offload()

    def offload(self) -> None:
        """Bring everything that has arrived to Iceberg."""
        run(Tiers.open(self.settings, OverPair(self.settings)), until_now=True)

    def rederive(self, limit: Decimal, before: Before = lambda _database, _sql: None) -> set[str]:
        """Re-derive Binance by the limit; returns the tables of which partitions were published."""
        new = limited(self.settings, self._folder, limit)
        text = new.symbols_file.read_text()
        # The limit holds for both symbols, since each is on another shard.
        spot = text.partition("  binance_usdm:")[0].partition("  binance:")[2]
        new.symbols_file.write_text(text.replace(spot, spot.replace("USDT}", f"USDT, quantity_max: {limit}}}"), 1))
        days = rederive(Tiers.open(new, OverPair(new, before)), FROM, DAY_AFTER, exchange="binance")
        self.limit = limit
        return {name.partition("/")[0] for day in days for name in day.published}

    def versions(self, limit: Decimal) -> Seen:
        """What a limit makes of each market, by polars."""
        rows = silver_rows(within(self.trades, limit))
        sums = rows.group_by("exchange", "symbol").agg(pl.len(), pl.col("quantity").sum())
        return {(row[0], row[1]): (row[2], Decimal(str(row[3]))) for row in sums.iter_rows()}

    def assert_whole(self, *limits: Decimal) -> Seen:
        """Each market is as one of the limits makes it, and a reader finds the same in Silver and in its candle."""
        # The candles of all frames are computed by one query, and switch with it.
        tables = {"silver_trades": "count(), sum(quantity)", "gold_ohlcv_1d_exact": "sum(trade_count), sum(volume)"}
        seen: list[Seen] = []
        for table, sums in tables.items():
            sql = f"SELECT toString(exchange), toString(symbol), {sums} FROM {table} GROUP BY exchange, symbol"
            rows = self.readers.client.query(sql).result_rows
            seen.append({(row[0], row[1]): (int(row[2]), Decimal(str(row[3]))) for row in rows})
        assert seen[0] == seen[1]
        for market in MARKETS:
            assert seen[0][market] in [self.versions(limit)[market] for limit in limits], market
        return seen[0]

    def assert_follows(self) -> None:
        """Both tiers are as the limit makes them, each market is on one shard, and nothing of a publication is left."""
        assert_is(self.readers, self.settings, within(self.trades, self.limit))
        markets = "SELECT DISTINCT toString(exchange), toString(symbol) FROM"
        for table in ("silver_trades", "gold_ohlcv_state"):
            held = [set(shard.client.query(f"{markets} {table}").result_rows) for shard in self.pair.each]
            assert [len(shard) for shard in held] == [2, 2]
            assert held[0] | held[1] == set(MARKETS)
        for shard in self.pair.each:
            left = "SELECT count() FROM system.tables WHERE database = currentDatabase()"
            assert str(shard.client.command(f"{left} AND create_table_query LIKE '%CONSTRAINT publishing%'")) == "0"


@pytest.fixture(scope="module")
def stack(cluster_node: Node, cluster_folder: Path, tape: Path, brokers: str) -> Stack:
    folder = cluster_folder / "pair"
    folder.mkdir()
    pair = PairOfShards(cluster_node, folder)
    spot = of_one_hour(read_tape(tape)).filter(pl.col("time").dt.day() == 8).gather_every(16)
    trades = pl.concat([spot, of_exchange(spot.head(200), "binance_usdm")])
    return Stack(pair, pair.readers.model_copy(update={"kafka_bootstrap_servers": brokers}), trades, folder)


# Its sibling: test_over_shards.py::test_a_day_follows_the_rules, which has the same steps with one shard.
@pytest.mark.nightly
def test_every_market_follows_whole_and_once(stack: Stack) -> None:
    """One died between the shards, and the next finishes it. Meanwhile a worker's rows of both shards are refused; they
    land afterwards, once."""
    before, after = stack.limit, HIGH
    changing = [market for market in MARKETS if stack.versions(before)[market] != stack.versions(after)[market]]
    assert changing == MARKETS[:2]
    late = stack.trades.filter(pl.col("exchange") == "binance").unique("symbol", maintain_order=True)
    now = pl.lit(datetime.now(UTC)).dt.cast_time_unit("us")
    late = late.with_columns(
        pl.format("9{}", "trade_id").alias("trade_id"), pl.lit("0.01").alias("qty"), now.alias("arrived")
    )
    assert late.height == 2
    worker = ClickHouse(stack.settings, RetryPolicy(threading.Event()))
    refused = looks = 0

    def come() -> None:
        worker.insert(into("silver_trades"), silver_rows(late).to_arrow(), "late:1")

    with pytest.raises(DiedError):
        stack.rederive(after, dying(*BETWEEN))
    between = stack.assert_whole(before, after)
    assert between not in (stack.versions(before), stack.versions(after)), "one market is new, the other is not"

    def watch(database: str, sql: str) -> None:
        nonlocal refused, looks
        if database in DATABASES and ("PARTITION" in sql or "INTO gold_ohlcv_state" in sql):
            stack.assert_whole(before, after)
            looks += 1
        if database in DATABASES and "PARTITION" in sql:
            with pytest.raises(SilverPausedError):
                come()
            refused += 1

    assert stack.rederive(after, watch) == {"silver_trades", "gold_ohlcv_state"}
    assert (refused, looks) == (2, 6)
    stack.assert_follows()
    assert not stack.rederive(after), "a second run changes nothing"
    come()
    come()
    stack.trades = pl.concat([stack.trades, late])
    assert stack.assert_whole(after) == stack.versions(after)


# Its siblings: the one above dies between the shards, and rederive/test_rederive.py dies on one server.
@pytest.mark.nightly
@pytest.mark.parametrize(("at", "number"), STEPS)
def test_one_that_died_is_finished_by_the_next(stack: Stack, at: str, number: int) -> None:
    # The test before has brought trades.
    stack.offload()
    before, after = stack.limit, LOW if stack.limit == HIGH else HIGH
    with pytest.raises(DiedError):
        stack.rederive(after, dying(at, number))
    stack.assert_whole(before, after)
    stack.rederive(after)
    stack.assert_follows()
