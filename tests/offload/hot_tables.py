"""Hot tables filled from recorded trades, and what must be in them by an independent computation in polars."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import clickhouse_connect
import polars as pl

from config.settings import Settings
from ddl.plan import without_superseded
from ddl.render import render
from series.declaration import load_series
from series.store import SeriesStore
from tests.clickhouse import REFRESHING
from tests.series.answers import insert_all

# Arrivals are spread over three hours long past; event times are the recording's own.
ARRIVAL = datetime(2026, 1, 5, 10, tzinfo=UTC)
COORDINATES = ("raw_topic", "raw_partition", "raw_offset", "published_at")
_KAFKA = ("_queue", "_sink", "ENGINE = Kafka")
_numbers = count(1)
# The folder of warehouses that go with a database.
WAREHOUSES = "warehouses"
# By port of the node: databases that are as the migrations left them and wait for their next test.
_empty: dict[int, list[str]] = {}


@dataclass(frozen=True)
class _Made:
    """What the migrations made in a database: each object's definition, and its stamp (see `_stamps`)."""

    definitions: dict[str, str]
    stamps: dict[str, tuple[object, ...]]


_made: dict[str, _Made] = {}


def database_name(http_port: int) -> str:
    """The name of an empty database of the node: of one that is there already, or a new one."""
    waiting = _empty.get(http_port)
    return waiting.pop() if waiting else f"offload_{next(_numbers)}"


def give_back_unused(settings: Settings) -> None:
    """Give back the database of `settings` if it waited for a test and nobody had it as `hot`."""
    name = settings.clickhouse_database
    if name in _made and name not in _empty.get(settings.clickhouse_http_port, []):
        HotTables(settings).give_back()


class HotTables:
    """The database of `settings`; rows go in as Parquet."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        admin = self._connect("system")
        name = settings.clickhouse_database
        exists = str(admin.command(f"EXISTS DATABASE {name}")) == "1"
        if not exists:
            admin.command(f"CREATE DATABASE {name}")
        self.client = self._connect(name)
        if exists:
            if not self._has_pooled_warehouse:
                self._drop_all_but_made()
            return
        for statement in without_superseded(render(settings), ()):
            if not any(text in statement.sql for text in _KAFKA):
                self.client.command(statement.sql)
        made = self._definitions()
        _made[name] = _Made(made, self._stamps(made))

    def _names(self) -> set[str]:
        """Without the tables that a refresh is filling."""
        names = self.client.query("SHOW TABLES").result_columns[0]
        return {name for name in names if not name.startswith(REFRESHING)}

    def _stamps(self, names: Collection[str]) -> dict[str, tuple[object, ...]]:
        """What changes whenever a definition of these objects does. To write definitions down costs ten times as much.

        Nothing where one was changed this second or the last: time has seconds here. A refresh puts a new table in the
        place of `latest_prices_copy`.
        """
        asked = (
            "SELECT name, uuid, metadata_modification_time, metadata_modification_time < now() - 1"
            " FROM system.tables WHERE database = currentDatabase()"
        )
        wanted = [name for name in names if name != "latest_prices_copy"]
        rows = [row for row in self.client.query(asked).result_rows if row[0] in wanted]
        return {name: (uuid, at) for name, uuid, at, _ in rows} if all(row[3] for row in rows) else {}

    def _differs(self) -> bool:
        """Whether an object of the migrations is not as they made it."""
        name = self.settings.clickhouse_database
        made = _made[name]
        stamps = self._stamps(made.definitions)
        if stamps and stamps == made.stamps:
            return False
        found = self._definitions()
        if any(found.get(table) != definition for table, definition in made.definitions.items()):
            return True
        _made[name] = _Made(made.definitions, stamps)
        return False

    def _definitions(self) -> dict[str, str]:
        asked = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
        return dict(self.client.query(asked).result_rows)

    def connect(self) -> clickhouse_connect.driver.Client:
        """A client of its own, for a thread of its own."""
        return self._connect(self.settings.clickhouse_database)

    def _connect(self, database: str) -> clickhouse_connect.driver.Client:
        return clickhouse_connect.get_client(
            host=self.settings.clickhouse_host,
            port=self.settings.clickhouse_http_port,
            password=self.settings.clickhouse_password.get_secret_value(),
            database=database,
            autogenerate_session_id=False,
        )

    def give_back(self) -> None:
        """Leave the database empty to the next test, which costs a tenth of the migrations; drop it if it differs."""
        name = self.settings.clickhouse_database
        self._drop_views_of_pins()
        if self._differs():
            self.drop()
            return
        self._drop_all_but_made(kept="_all" if self._has_pooled_warehouse else "")
        # Of the sixty tables a test fills a few.
        filled = self.client.query("SELECT DISTINCT table FROM system.parts WHERE database = currentDatabase()")
        for (table,) in filled.result_rows:
            if table in _made[name].definitions:
                self.client.command(f"TRUNCATE TABLE {table} SYNC")
        _empty.setdefault(self.settings.clickhouse_http_port, []).append(name)

    def _drop_views_of_pins(self) -> None:
        """A pin's views are a database of their own, which the next test would find."""
        published = self.client.query("SELECT name FROM system.databases WHERE startsWith(name, 'pin_')")
        for (name,) in published.result_rows:
            self.client.command(f"DROP DATABASE {name}")

    def _drop_all_but_made(self, kept: str = "") -> None:
        """Drop what the migrations did not make, except the views of both tiers whose names end in `kept`."""
        for table in self._names() - _made[self.settings.clickhouse_database].definitions.keys():
            if not (kept and table.endswith(kept)):
                self.client.command(f"DROP TABLE {table} SYNC")

    @property
    def _has_pooled_warehouse(self) -> bool:
        """Whether the warehouse is the one that goes with the database (see the fixture `settings`)."""
        return f"/{WAREHOUSES}0/" in self.settings.iceberg_warehouse

    def drop(self) -> None:
        """Give the node its memory back: every table costs some, and each database has sixty."""
        _made.pop(self.settings.clickhouse_database, None)
        self._connect("system").command(f"DROP DATABASE {self.settings.clickhouse_database} SYNC")

    def insert(self, table: str, frame: pl.DataFrame) -> None:
        """Insert by column name, in one block, also where the same block was inserted before."""
        file = io.BytesIO()
        frame.write_parquet(file, row_group_size=max(frame.height, 1))
        one_block = {
            "input_format_parquet_max_block_size": max(frame.height, 1),
            "max_insert_block_size": max(frame.height, 1),
        }
        self.client.raw_insert(
            table,
            column_names=frame.columns,
            insert_block=file.getvalue(),
            settings={
                "max_partitions_per_insert_block": 0,
                "max_threads": 1,
                "deduplicate_insert": "disable",
                **one_block,
            },
            fmt="Parquet",
        )

    def count(self, table: str) -> int:
        return int(str(self.client.command(f"SELECT count() FROM {table}")))

    def load(self, trades: pl.DataFrame) -> None:
        """Raw (and Bronze by its view) and Silver (and Gold by its views)."""
        self.insert("trades_raw", raw_rows(trades))
        self.insert("silver_trades", silver_rows(trades))

    def load_left_out(self, trades: pl.DataFrame) -> None:
        """Each trade as a duplicate and as a dead letter."""
        self.insert("duplicate_trades", duplicate_rows(trades))
        self.insert("dlq_trades_log", dead_letter_rows(trades))

    def load_series(self, *names: str, hours: int = 1) -> None:
        """Answers of these series, or of every declared one (`tests.series.answers`), which came in so many hours."""
        store = SeriesStore(self.settings)
        for series in load_series():
            for hour in range(hours if series.name in names or not names else 0):
                insert_all(store, series, ARRIVAL + timedelta(hours=hour))
        store.close()


def read_tape(path: Path, exchange: str = "binance") -> pl.DataFrame:
    """Recorded trades: symbol; trade_id, price, qty as text; side; time (µs); `arrived` (in three hours); `offset`."""
    frame = pl.read_csv(path, schema_overrides=dict.fromkeys(("trade_id", "price", "qty"), pl.String))
    return frame.with_row_index("offset").select(
        pl.lit(exchange).alias("exchange"),
        "symbol",
        "trade_id",
        "price",
        "qty",
        "side",
        (pl.col("trade_time_ns") // 1000).cast(pl.Datetime("us", "UTC")).alias("time"),
        pl.col("offset").cast(pl.UInt64),
        (
            pl.lit(ARRIVAL)
            + pl.duration(hours=(pl.col("offset") % 3).cast(pl.Int64), microseconds=pl.col("offset").cast(pl.Int64))
        )
        .dt.cast_time_unit("us")
        .alias("arrived"),
    )


def of_one_hour(trades: pl.DataFrame) -> pl.DataFrame:
    """The same trades, which all arrive in the second of the three hours: a third of the files of most layers."""
    arrived = pl.lit(ARRIVAL) + pl.duration(hours=1, microseconds=pl.col("offset").cast(pl.Int64))
    return trades.with_columns(arrived.dt.cast_time_unit("us").alias("arrived"))


def raw_rows(trades: pl.DataFrame) -> pl.DataFrame:
    """Rows of trades_raw; every message ends in a byte that is not UTF-8."""
    message = pl.lit('{"trade_id":"') + pl.col("trade_id") + pl.lit('","price":"') + pl.col("price") + pl.lit('"}')
    return trades.select(
        "exchange",
        "symbol",
        "trade_id",
        "price",
        pl.col("qty").alias("quantity"),
        pl.col("time").dt.epoch("us").cast(pl.String).alias("timestamp_raw"),
        "side",
        *(pl.lit("").alias(name) for name in ("sequence", "kind", "matches")),
        (message.cast(pl.Binary).bin.encode("hex") + pl.lit("ff")).str.decode("hex").alias("raw_json"),
        pl.format("market.crypto.trades.{}.raw", "exchange").alias("_topic"),
        pl.lit(0, pl.UInt32).alias("_partition"),
        pl.col("offset").alias("_offset"),
        pl.col("arrived").dt.truncate("1ms").alias("published_at"),
        pl.col("arrived").alias("received_at"),
        pl.col("arrived").alias("ingested_at"),
    )


def silver_rows(trades: pl.DataFrame) -> pl.DataFrame:
    """Rows of silver_trades as a correct Silver processor would write them."""
    price, quantity = pl.col("price").str.to_decimal(scale=18), pl.col("qty").str.to_decimal(scale=18)
    ms = pl.col("arrived").dt.truncate("1ms")
    return trades.select(
        "exchange",
        "symbol",
        "trade_id",
        price.cast(pl.Decimal(38, 18)).alias("price"),
        quantity.cast(pl.Decimal(38, 18)).alias("quantity"),
        quote_volume().alias("quote_volume"),
        pl.col("time").alias("timestamp"),
        "side",
        pl.col("arrived").alias("validated_at"),
        pl.col("trade_id").cast(pl.UInt64).alias("sequence"),
        pl.lit("market").alias("trade_kind"),
        pl.lit(1, pl.UInt32).alias("match_count"),
        pl.col("symbol").alias("exchange_symbol"),
        pl.format("market.crypto.trades.{}.raw", "exchange").alias("raw_topic"),
        pl.lit(0, pl.UInt32).alias("raw_partition"),
        pl.col("offset").alias("raw_offset"),
        ms.alias("published_at"),
        pl.col("arrived").alias("received_at"),
        pl.col("arrived").alias("ingested_at"),
        pl.lit(0, pl.UInt32).alias("bronze_partition"),
        (pl.col("offset") // 1000).alias("bronze_offset"),
        ms.alias("bronze_published_at"),
        pl.format("token-{}", pl.col("offset") // 1000).alias("insert_token"),
        pl.lit("rules-1").alias("rules_version"),
    )


def duplicate_rows(trades: pl.DataFrame) -> pl.DataFrame:
    """Rows of duplicate_trades."""
    columns = ("exchange", "symbol", "trade_id", "timestamp", *COORDINATES, "bronze_partition", "bronze_offset")
    return silver_rows(trades).select(*columns, "insert_token", pl.col("validated_at").alias("seen_at"))


def dead_letter_rows(trades: pl.DataFrame, reason: str = "side_invalid") -> pl.DataFrame:
    """Rows of dlq_trades_log."""
    return raw_rows(trades).select(
        pl.lit(reason).alias("reason"),
        pl.lit("side").alias("field"),
        pl.lit("HOLD").alias("value"),
        pl.lit("BUY or SELL").alias("limit"),
        "exchange",
        "symbol",
        "trade_id",
        pl.col("price").alias("price_text"),
        pl.col("_topic").alias("raw_topic"),
        pl.col("_partition").alias("raw_partition"),
        pl.col("_offset").alias("raw_offset"),
        "published_at",
        "ingested_at",
        pl.col("ingested_at").alias("rejected_at"),
        pl.col("raw_json").alias("payload"),
        pl.col("_offset").alias("dlq_offset"),
    )


def quote_volume() -> pl.Expr:
    """price * quantity, exact: both have 8 decimals in these recordings."""
    price, quantity = pl.col("price").str.to_decimal(scale=8), pl.col("qty").str.to_decimal(scale=8)
    units = price.cast(pl.Decimal(38, 8)) * quantity.cast(pl.Decimal(38, 8))
    return units.cast(pl.Decimal(38, 20))


def candles(trades: pl.DataFrame, length: timedelta) -> pl.DataFrame:
    """Candles by polars over the trades: the independent truth of Gold."""
    rows = silver_rows(trades).sort("timestamp", "sequence", "trade_id")
    return (
        rows.group_by(
            "exchange", "symbol", pl.col("timestamp").dt.truncate(length).alias("window_start"), maintain_order=True
        )
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("quantity").sum().alias("volume"),
            pl.col("quote_volume").sum(),
            pl.len().cast(pl.Int64).alias("trade_count"),
            pl.col("quantity").filter(pl.col("side") == "BUY").sum().alias("buy_volume"),
            pl.col("quantity").filter(pl.col("side") == "SELL").sum().alias("sell_volume"),
        )
        .sort("exchange", "symbol", "window_start")
    )
