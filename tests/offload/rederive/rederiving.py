"""What the tests of the re-derivation share: a registry with a limit, and the truth of both tiers by polars."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from polars.testing import assert_frame_equal
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.difference.silver_difference import VALUES
from offload.proof.counts import count_lineage
from offload.proof.verify import verify
from offload.tables.cold_tables import BY_NAME
from tests.offload.cold_tables import read
from tests.offload.hot_tables import HotTables, candles, raw_rows, silver_rows

# The two days of the recorded trades.
FROM, TO = datetime(2024, 8, 8, tzinfo=UTC), datetime(2024, 8, 10, tzinfo=UTC)
LOW, HIGH = Decimal("0.05"), Decimal("0.2")


def within(trades: pl.DataFrame, limit: Decimal) -> pl.DataFrame:
    """What a quantity limit of BTCUSDT lets through."""
    quantity = pl.col("qty").str.to_decimal(scale=18)
    return trades.filter((pl.col("symbol") != "BTCUSDT") | (quantity <= pl.lit(limit)))


def limited(settings: Settings, folder: Path, limit: Decimal) -> Settings:
    """The settings with a registry of that limit."""
    path = folder / f"symbols-{limit}.yaml"
    path.write_text(
        "version: 1\ndefaults: {price_max: 1000000, quantity_max: 100000}\nexchanges:\n"
        "  binance:\n"
        f"    BTCUSDT: {{canonical: BTCUSDT, base: BTC, quote: USDT, quantity_max: {limit}}}\n"
        "    ETHUSDT: {canonical: ETHUSDT, base: ETH, quote: USDT}\n"
        "  binance_usdm:\n"
        "    BTCUSDT: {canonical: BTCUSDT, base: BTC, quote: USDT}\n"
        "    ETHUSDT: {canonical: ETHUSDT, base: ETH, quote: USDT}\n"
    )
    return settings.model_copy(update={"symbols_file": path})


def fill(hot: HotTables, trades: pl.DataFrame, limit: Decimal) -> None:
    """All trades into Raw and Bronze, those within the limit into Silver and Gold."""
    hot.insert("trades_raw", raw_rows(trades))
    hot.insert("silver_trades", silver_rows(within(trades, limit)))


def of_exchange(trades: pl.DataFrame, exchange: str) -> pl.DataFrame:
    """The same trades under another exchange."""
    return trades.with_columns(pl.lit(exchange).alias("exchange"))


def assert_is(hot: HotTables, settings: Settings, expected: pl.DataFrame) -> None:
    """Silver's values and Gold in both tiers, against polars over the trades."""
    key = ["exchange", "symbol", "trade_id"]
    truth = silver_rows(expected).select(*key, *VALUES).sort(key)
    cold = read(settings, BY_NAME["silver_trades"]).cast({"sequence": pl.UInt64, "match_count": pl.UInt32})
    assert_frame_equal(cold.select(truth.columns).sort(key), truth)
    assert hot.count("silver_trades") == expected.height
    assert hot.count("(SELECT DISTINCT exchange, symbol, trade_id FROM silver_trades)") == expected.height
    for frame in load_layers().timeframes:
        made = candles(expected, timedelta(seconds=frame.seconds))
        order = ["exchange", "symbol", "window_start"]
        assert_frame_equal(read(settings, BY_NAME[frame.view]).sort(order).select(made.columns), made)
        assert hot.count(frame.exact_view) == hot.count(frame.view) == made.height
        volume = hot.client.query(
            f"SELECT sum(volume), sum(quote_volume), sum(trade_count) FROM {frame.exact_view}"
        ).result_rows
        assert volume == [(made["volume"].sum(), made["quote_volume"].sum(), made["trade_count"].sum())]
    assert verify(Tiers.open(settings)).ok
    # Nothing of the publication is left behind.
    shown = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND "
    assert str(hot.client.command(shown + "create_table_query LIKE '%CONSTRAINT publishing%'")) == "0"
    views = (
        "(name LIKE 'gold_ohlcv_%' OR name LIKE 'latest_prices%') AND name NOT LIKE '%_all' AND engine = 'View'"
        " AND as_select LIKE '%silver_trades%'"
    )
    assert str(hot.client.command(shown + views)) == "0"


def dead_letters(hot: HotTables, trades: pl.DataFrame, limit: Decimal) -> None:
    """A dead letter for every trade beyond the limit, as the worker would have written it."""
    beyond = trades.join(within(trades, limit), on=["exchange", "symbol", "trade_id"], how="anti")
    raw = raw_rows(beyond)
    rows = raw.select(
        pl.lit("quantity_above_limit").alias("reason"),
        "exchange",
        "symbol",
        "trade_id",
        pl.col("price").alias("price_text"),
        pl.col("quantity").alias("quantity_text"),
        "timestamp_raw",
        "side",
        "sequence",
        beyond["time"].alias("timestamp"),
        pl.col("_topic").alias("raw_topic"),
        pl.col("_partition").alias("raw_partition"),
        pl.col("_offset").alias("raw_offset"),
        "published_at",
        "received_at",
        "ingested_at",
        pl.col("ingested_at").alias("rejected_at"),
    )
    hot.insert("dlq_trades_log", rows)


def assert_proved(settings: Settings, silver: int, duplicates: int, dlq: int) -> None:
    """Each message is in exactly one place, and so many in each."""
    counts = count_lineage(ClickHouseHttp(settings))
    assert all(count.holds for count in counts), counts
    found = {name: sum(getattr(count, name) for count in counts) for name in ("silver", "duplicates", "dlq")}
    assert found == {"silver": silver, "duplicates": duplicates, "dlq": dlq}


# One query: the trades and the volume of a day of Binance in Silver and in each candle table.
DAY_IN_ONE_QUERY = "SELECT " + ", ".join(
    [
        "(SELECT (toInt64(count()), toString(sum(quantity))) FROM silver_trades"
        " WHERE exchange = 'binance' AND toDate(timestamp) = '2024-08-08') AS silver",
        *(
            f"(SELECT (toInt64(sum(trade_count)), toString(sum(volume))) FROM {frame.exact_view}"
            f" WHERE exchange = 'binance' AND toDate(window_start) = '2024-08-08') AS {frame.view}"
            for frame in load_layers().timeframes
        ),
    ]
)


def day_of(trades: pl.DataFrame) -> tuple[int, Decimal]:
    """What every column of `DAY_IN_ONE_QUERY` must be for these trades."""
    rows = silver_rows(trades.filter((pl.col("exchange") == "binance") & (pl.col("time").dt.day() == 8)))
    return rows.height, Decimal(str(rows["quantity"].sum()))


def seen_day(client: Client) -> list[tuple[int, Decimal]]:
    """The columns of `DAY_IN_ONE_QUERY` now."""
    (row,) = client.query(DAY_IN_ONE_QUERY).result_rows
    return [(int(count), Decimal(volume)) for count, volume in row]


class Reader:
    """A thread that asks the one query until the block ends."""

    def __init__(self, hot: HotTables) -> None:
        self._hot, self._stop = hot, threading.Event()
        self.seen: list[list[tuple[int, Decimal]]] = []
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        client = self._hot.connect()
        is_last = False
        while not is_last:
            # A look costs as much as what it looks at. The last one is at what is there in the end.
            is_last = self._stop.wait(0.05)
            try:
                self.seen.append(seen_day(client))
            except ClickHouseError as error:
                self.failed.append(str(error))


class Announcing(ClickHouseHttp):
    """Calls each of `moments` once, before the first command that has all its texts."""

    def __init__(self, settings: Settings, moments: Mapping[tuple[str, ...], Callable[[], object]]) -> None:
        super().__init__(settings)
        self._moments = dict(moments)

    def command(self, sql: str, parameters: Parameters) -> None:
        for texts in [texts for texts in self._moments if all(text in sql for text in texts)]:
            self._moments.pop(texts)()
        super().command(sql, parameters)


class SlowReader:
    """One query that looks at the candles of a minute, sleeps, and looks up the candles of a day only then."""

    def __init__(self, hot: HotTables) -> None:
        self._hot = hot
        self._thread = threading.Thread(target=self._read)
        self._answer: list[tuple[int, Decimal]] = []

    def start(self) -> None:
        """Start the query; returns when it sleeps."""
        self._thread.start()
        Retrying(retry=retry_if_result(lambda sleeps: not sleeps), stop=stop_after_delay(30), wait=wait_fixed(0.01))(
            self._sleeps
        )

    def answer(self) -> list[tuple[int, Decimal]]:
        """What it saw in both views."""
        self._thread.join()
        return self._answer

    def _read(self) -> None:
        minutes, days = (
            f"(SELECT (toInt64(sum(trade_count)), toString(sum(volume))) FROM gold_ohlcv_{frame}_exact"
            " WHERE exchange = 'binance' AND toDate(window_start) = '2024-08-08')"
            for frame in ("1m", "1d")
        )
        sql = f"SELECT {minutes}, (SELECT sum(sleepEachRow(1)) FROM numbers(3)), {days}"
        (row,) = self._hot.connect().query(sql).result_rows
        self._answer = [(int(count), Decimal(volume)) for count, volume in (row[0], row[2])]

    def _sleeps(self) -> bool:
        running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEach%' AND query NOT LIKE '%processes%'"
        return bool(self._hot.client.query(f"{running} AND read_rows > 0").result_rows[0][0])
