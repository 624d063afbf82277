"""What an analyst types gives what polars gives over the same trades; and every view loads as numbers."""

from __future__ import annotations

import gzip
import io
import json
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from ddl.layers import load_layers
from tests.ddl.conftest import refresh
from tests.ddl.engine import Engine

FRAMES = {frame.code: frame for frame in load_layers().timeframes}
MARKET = ["exchange", "symbol"]
AMOUNTS = ("open", "high", "low", "close", "volume", "quote_volume", "buy_volume", "sell_volume")
RELATIVE = 1e-12


@dataclass(frozen=True)
class Desk:
    """A warehouse that holds the recorded trades, and those trades."""

    engine: Engine
    database: str
    trades: pl.DataFrame

    def ask(self, sql: str) -> pl.DataFrame:
        """`sql` with the views' names bare; the answer as Parquet brings it."""
        self.engine.execute(f"USE {self.database}")
        return pl.read_parquet(self.engine.query(sql, "Parquet"))


def read_trades(recordings: Path) -> pl.DataFrame:
    """The recorded frames of Binance spot and USD-M, read here without the product: texts and times in µs."""
    rows = []
    for name, exchange in (("binance_spot_trades", "binance"), ("binance_usdm_trades", "binance_usdm")):
        with gzip.open(recordings / f"{name}.jsonl.gz", "rt") as lines:
            for line in lines:
                trade = json.loads(line)["data"]
                side = "SELL" if trade["m"] else "BUY"
                rows.append((exchange, trade["s"], str(trade["t"]), trade["p"], trade["q"], side, trade["T"] * 1000))
    names = ["exchange", "symbol", "trade_id", "price", "quantity", "side", "timestamp"]
    frame = pl.DataFrame(rows, schema=names, orient="row").unique(["exchange", "symbol", "trade_id"])
    price, quantity = (pl.col(name).str.to_decimal(scale=8).cast(pl.Decimal(38, 8)) for name in ("price", "quantity"))
    return frame.select(
        *MARKET,
        "trade_id",
        price.cast(pl.Decimal(38, 18)).alias("price"),
        quantity.cast(pl.Decimal(38, 18)).alias("quantity"),
        (price * quantity).cast(pl.Decimal(38, 20)).alias("quote_volume"),
        pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
        "side",
        pl.col("trade_id").cast(pl.UInt64).alias("sequence"),
    ).sort("timestamp", "sequence")


@pytest.fixture(scope="module")
def desk(engine: Engine, warehouse: Settings, recordings: Path) -> Desk:
    trades = read_trades(recordings)
    assert trades.height > 70_000
    database = warehouse.clickhouse_database
    engine.insert(f"{database}.silver_trades", trades)
    refresh(engine, warehouse)
    return Desk(engine, database, trades)


def nearest(frame: pl.DataFrame) -> pl.DataFrame:
    """Decimals as the nearest doubles, by their text."""
    return frame.with_columns(pl.col(pl.Decimal).cast(pl.String).cast(pl.Float64))


def candles(trades: pl.DataFrame, every: str) -> pl.DataFrame:
    """Candles of exact sums, then as doubles."""
    quantity, buys = pl.col("quantity"), pl.col("side") == "BUY"
    found = trades.group_by(*MARKET, pl.col("timestamp").dt.truncate(every).alias("window_start"), maintain_order=True)
    return nearest(
        found.agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            quantity.sum().alias("volume"),
            pl.col("quote_volume").sum(),
            pl.len().alias("trade_count"),
            quantity.filter(buys).sum().alias("buy_volume"),
            quantity.filter(~buys).sum().alias("sell_volume"),
        )
    ).sort(*MARKET, "window_start")


def assert_close(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Equal keys, numbers within 1e-12 of their size."""
    keys = [name for name in expected.columns if name in {*MARKET, "window_start", "side"}]
    expected = expected.with_columns(pl.col(name).cast(found.schema[name]) for name in keys).sort(keys)
    found = found.select(expected.columns).sort(keys)
    assert found.height == expected.height > 0
    assert_frame_equal(found.select(keys), expected.select(keys))
    for name in set(expected.columns) - set(keys):
        for a, b in zip(found[name].to_list(), expected[name].to_list(), strict=True):
            assert (a is None) == (b is None), name
            assert a is None or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=0), (name, a, b)


def source(view: str, amounts: tuple[str, ...] = AMOUNTS) -> str:
    """A view for arithmetic; of exact decimals the conversion that the documents name."""
    if view.endswith("_exact") or view == "silver_trades":
        columns = ", ".join(f"toFloat64(toString({name})) AS {name}" for name in amounts)
        return f"(SELECT * REPLACE ({columns}) FROM {view})"
    return view


def rolling(name: str) -> pl.Expr:
    """The last five values, this one included, oldest ones missing at the start."""
    return pl.concat_list(pl.col(name).shift(n).over(MARKET) for n in range(5)).list.drop_nulls()


IN_ORDER = "PARTITION BY exchange, symbol ORDER BY window_start"
LAST_FIVE = f"{IN_ORDER} ROWS BETWEEN 4 PRECEDING AND CURRENT ROW"
BEFORE = f"lagInFrame(toNullable(close)) OVER ({IN_ORDER} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"
previous = pl.col("close").shift(1).over(MARKET)
# Of candles, one row each: what the analyst types, and the same in polars.
BY_CANDLE = {
    "ratio": ("close / open", pl.col("close") / pl.col("open")),
    "percent": ("(close - open) / open * 100", (pl.col("close") - pl.col("open")) / pl.col("open") * 100),
    "return": (f"close / {BEFORE} - 1", pl.col("close") / previous - 1),
    "log_return": (f"log(close / {BEFORE})", (pl.col("close") / previous).log()),
    "range": ("(high - low) / open", (pl.col("high") - pl.col("low")) / pl.col("open")),
    "typical": ("(high + low + close) / 3", (pl.col("high") + pl.col("low") + pl.col("close")) / 3),
    "vwap": ("quote_volume / volume", pl.col("quote_volume") / pl.col("volume")),
    "trade_size": ("volume / trade_count", pl.col("volume") / pl.col("trade_count")),
    "buyers": ("buy_volume / volume", pl.col("buy_volume") / pl.col("volume")),
    "imbalance": (
        "(buy_volume - sell_volume) / volume",
        (pl.col("buy_volume") - pl.col("sell_volume")) / pl.col("volume"),
    ),
    "mean_5": (f"avg(close) OVER ({LAST_FIVE})", rolling("close").list.mean()),
    "deviation_5": (f"stddevPopStable(close) OVER ({LAST_FIVE})", rolling("close").list.std(ddof=0)),
    "vwap_5": (
        f"sum(quote_volume) OVER ({LAST_FIVE}) / sum(volume) OVER ({LAST_FIVE})",
        rolling("quote_volume").list.sum() / rolling("volume").list.sum(),
    ),
    "volume_so_far": (f"sum(volume) OVER ({IN_ORDER})", pl.col("volume").cum_sum().over(MARKET)),
    "drawdown": (
        f"close / max(high) OVER ({IN_ORDER}) - 1",
        pl.col("close") / pl.col("high").cum_max().over(MARKET) - 1,
    ),
}


@pytest.mark.parametrize("suffix", ["", "_exact"])
@pytest.mark.parametrize("code", FRAMES)
def test_arithmetic_on_candles(desk: Desk, code: str, suffix: str) -> None:
    truth = candles(desk.trades, code)
    view = source(f"gold_ohlcv_{code}{suffix}")
    typed = ", ".join(f"{sql} AS {name}" for name, (sql, _) in BY_CANDLE.items())
    found = desk.ask(f"SELECT exchange, symbol, window_start, {typed} FROM {view}")
    made = truth.select(*MARKET, "window_start", *(expr.alias(name) for name, (_, expr) in BY_CANDLE.items()))
    assert_close(found, made)
    assert_close(desk.ask(f"SELECT * FROM {view}"), truth)


@pytest.mark.parametrize("code", FRAMES)
def test_candles_of_candles(desk: Desk, code: str) -> None:
    """2 hours and weeks of every frame, a market's VWAP, weighted mean and the deviation of its returns."""
    view = FRAMES[code].view
    cells = (
        "argMin(open, window_start) AS open, max(high) AS high, min(low) AS low, argMax(close, window_start) AS close,"
        " sum(volume) AS volume, sum(quote_volume) AS quote_volume, sum(trade_count) AS trade_count,"
        " sum(buy_volume) AS buy_volume, sum(sell_volume) AS sell_volume"
    )
    longer = {"1w": "toStartOfWeek(window_start, 1)"}
    if code != "1d":
        longer["2h"] = "toStartOfInterval(window_start, INTERVAL 2 HOUR)"
    for every, start in longer.items():
        found = desk.ask(
            f"SELECT exchange, symbol, toDateTime({start}, 'UTC') AS start, {cells} FROM {view} GROUP BY ALL"
        )
        assert_close(found.rename({"start": "window_start"}), candles(desk.trades, every))
    found = desk.ask(
        "SELECT exchange, symbol, sum(quote_volume) / sum(volume) AS vwap, avgWeighted(close, volume) AS weighted,"
        f" stddevSamp(back) AS deviation FROM (SELECT *, close / {BEFORE} - 1 AS back FROM {view})"
        " GROUP BY exchange, symbol"
    )
    back = candles(desk.trades, code).with_columns((pl.col("close") / previous - 1).alias("back"))
    made = back.group_by(MARKET).agg(
        (pl.col("quote_volume").sum() / pl.col("volume").sum()).alias("vwap"),
        ((pl.col("close") * pl.col("volume")).sum() / pl.col("volume").sum()).alias("weighted"),
        pl.col("back").drop_nulls().std().alias("deviation"),
    )
    assert_close(found.with_columns(pl.col("deviation").fill_nan(None)), made)


def test_spread_between_exchanges(desk: Desk) -> None:
    found = desk.ask(
        "SELECT spot.symbol AS symbol, spot.window_start AS window_start, perp.close - spot.close AS spread,"
        " (perp.close - spot.close) / spot.close * 10000 AS points FROM gold_ohlcv_1m AS spot"
        " INNER JOIN gold_ohlcv_1m AS perp ON perp.symbol = spot.symbol AND perp.window_start = spot.window_start"
        " WHERE spot.exchange = 'binance' AND perp.exchange = 'binance_usdm'"
    )
    minutes = candles(desk.trades, "1m")
    both = minutes.filter(pl.col("exchange") == "binance").join(
        minutes.filter(pl.col("exchange") == "binance_usdm"), on=["symbol", "window_start"], suffix="_perp"
    )
    spread = pl.col("close_perp") - pl.col("close")
    points = (spread / pl.col("close") * 10_000).alias("points")
    assert_close(found, both.select("symbol", "window_start", spread.alias("spread"), points))


def test_minutes_without_trades_are_filled(desk: Desk) -> None:
    found = desk.ask(
        "SELECT window_start, close, volume FROM gold_ohlcv_1m WHERE exchange = 'binance_usdm' AND symbol = 'ETHUSDT'"
        " ORDER BY window_start WITH FILL STEP toIntervalMinute(1) INTERPOLATE (close)"
    )
    minutes = candles(desk.trades, "1m").filter(pl.col("exchange") == "binance_usdm", pl.col("symbol") == "ETHUSDT")
    filled = minutes.select("window_start", "close", "volume").upsample("window_start", every="1m")
    assert filled.height > 2 * minutes.height
    assert_close(found, filled.with_columns(pl.col("close").forward_fill(), pl.col("volume").fill_null(0.0)))


@pytest.mark.parametrize("view", ["trades", "silver_trades"])
def test_arithmetic_on_trades(desk: Desk, view: str) -> None:
    table = source(view, ("price", "quantity", "quote_volume"))
    cells = {
        "vwap": "sum(quote_volume) / sum(quantity)",
        "turnover": "sum(price * quantity)",
        "weighted": "avgWeighted(price, quantity)",
        "mean": "avg(price)",
        "deviation": "stddevSampStable(price)",
        "largest": "max(price * quantity)",
    }
    typed = ", ".join(f"{sql} AS {name}" for name, sql in cells.items())
    found = desk.ask(f"SELECT exchange, symbol, side, {typed} FROM {table} GROUP BY exchange, symbol, side")
    price, quantity, quote = pl.col("price"), pl.col("quantity"), pl.col("quote_volume")
    made = (
        nearest(desk.trades)
        .group_by(*MARKET, "side")
        .agg(
            (quote.sum() / quantity.sum()).alias("vwap"),
            (price * quantity).sum().alias("turnover"),
            ((price * quantity).sum() / quantity.sum()).alias("weighted"),
            price.mean().alias("mean"),
            price.std().alias("deviation"),
            (price * quantity).max().alias("largest"),
        )
    )
    assert_close(found.with_columns(pl.col("side").cast(pl.String)), made)


def views(desk: Desk) -> list[str]:
    found = desk.engine.execute(
        f"SELECT name FROM system.tables WHERE database = '{desk.database}' AND engine = 'View' ORDER BY name"
    )
    return [str(row[0]) for row in found]


def test_every_view_loads_as_numbers(desk: Desk, tmp_path: Path) -> None:
    """CSV, Parquet and Arrow, as file and as stream, into polars, pandas and DuckDB: the same numbers everywhere."""
    names = views(desk)
    assert {"trades", "latest_prices", *(v for f in FRAMES.values() for v in (f.view, f.exact_view))} <= set(names)
    desk.engine.execute(f"USE {desk.database}")
    for view in names:
        # The view is read once. The copy has its columns' types, and every format is written from it.
        desk.engine.execute(f"CREATE TABLE rows_of_view ENGINE = Memory AS SELECT * FROM {view} ORDER BY ALL LIMIT 200")
        sql = "SELECT * FROM rows_of_view"
        form = {name: desk.engine.query(sql, name) for name in ("CSVWithNames", "Parquet", "Arrow", "ArrowStream")}
        desk.engine.execute("DROP TABLE rows_of_view SYNC")
        if not form["Parquet"]:
            continue  # no rows, no file
        file = tmp_path / f"{view}.parquet"
        file.write_bytes(form["Parquet"])
        tables = {
            "polars csv": pl.read_csv(form["CSVWithNames"], infer_schema_length=None),
            "polars parquet": pl.read_parquet(form["Parquet"]),
            "polars ipc": pl.read_ipc(form["Arrow"]),
            "polars ipc stream": pl.read_ipc_stream(form["ArrowStream"]),
            "pandas csv": pl.from_pandas(pd.read_csv(io.BytesIO(form["CSVWithNames"]))),
            "pandas parquet": pl.from_pandas(pd.read_parquet(io.BytesIO(form["Parquet"]))),
            "pandas arrow": pl.from_pandas(pa.ipc.open_stream(form["ArrowStream"]).read_pandas()),
            "duckdb csv": duckdb.read_csv(io.BytesIO(form["CSVWithNames"])).pl(),
            "duckdb arrow": duckdb.from_arrow(pa.ipc.open_file(form["Arrow"]).read_all()).pl(),
            "duckdb parquet": duckdb.read_parquet(str(file)).pl(),
        }
        kinds = {
            str(name): str(kind)
            for name, kind in desk.engine.execute(
                f"SELECT name, type FROM system.columns WHERE database = '{desk.database}' AND table = '{view}'"
            )
        }
        numeric = [name for name, kind in kinds.items() if "Float" in kind or "Decimal" in kind or "UInt" in kind]
        exact = {name: tables["polars parquet"][name].cast(pl.Float64).to_list() for name in numeric}
        for reader, table in tables.items():
            for name in numeric:
                column = table[name]
                assert column.dtype.is_numeric() or column.null_count() == column.len(), (
                    view,
                    reader,
                    name,
                    column.dtype,
                )
                assert column.cast(pl.Float64).to_list() == exact[name], (view, reader, name)
        if view == FRAMES["1m"].view:
            assert tables["polars parquet"].schema["is_closed"] == pl.Boolean
            assert isinstance(tables["polars parquet"]["window_start"][0], datetime)
