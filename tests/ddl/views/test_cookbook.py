"""Invariant: the SQL of docs/cookbook.md answers what polars computes from the trades."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from series.answer import Answer, landing_rows
from series.declaration import series_named
from tests.ddl.conftest import refresh
from tests.ddl.engine import Engine
from tests.docs.blocks import fences
from tests.recorded import OURS

COOKBOOK = Path(__file__).parents[3] / "docs" / "cookbook.md"
SQL = {block.heading: block.body for block in fences(COOKBOOK) if block.language == "sql"}
MARKET = ["exchange", "symbol"]
# A hole of some minutes, of which a gap says that 7 trades are missing, and a healed gap beside it.
HOLE = datetime(2024, 8, 8, 23, 56, 30, tzinfo=UTC), datetime(2024, 8, 8, 23, 58, 5, tzinfo=UTC)

RECEIVED_US = 1_764_000_000_000_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FIRST_MS = 1_723_161_600_000
_NUMBER = pl.int_range(pl.len()).cast(pl.String)


def bars(symbol: str, frame: str = "1h", exchange: str = "binance") -> pl.DataFrame:
    """Bars of 80 hours: the price rises, the digits are as a venue writes them."""
    hours = pl.select((FIRST_MS + HOUR_MS * pl.int_range(80)).cast(pl.String).alias("window_start"))
    price = pl.lit("6000") + (pl.int_range(pl.len()) % 10).cast(pl.String)
    return hours.with_columns(
        pl.lit(exchange).alias("exchange"),
        pl.lit(symbol).alias("symbol"),
        pl.lit(frame).alias("frame"),
        (price + ".10").alias("open"),
        (price + ".90").alias("high"),
        (price + ".05").alias("low"),
        (price + ".50").alias("close"),
        (_NUMBER + ".25000000").alias("volume"),
    )


def rates(symbol: str, exchange: str = "binance_usdm") -> pl.DataFrame:
    """Rates of 80 times eight hours, every third negative, every fifth without a mark price."""
    number = pl.int_range(pl.len())
    sign = pl.when(number % 3 == 0).then(pl.lit("-")).otherwise(pl.lit(""))
    moments = pl.select((FIRST_MS + 8 * HOUR_MS * pl.int_range(80)).cast(pl.String).alias("funding_time"))
    return moments.with_columns(
        pl.lit(exchange).alias("exchange"),
        pl.lit(symbol).alias("symbol"),
        (sign + "0.000" + (number + 10).cast(pl.String)).alias("rate"),
        pl.when(number % 5 == 0).then(pl.lit("")).otherwise(_NUMBER + ".5").alias("mark_price"),
    )


INDEX = pl.select((FIRST_MS + DAY_MS * pl.int_range(40)).cast(pl.String).alias("day")).with_columns(
    _NUMBER.alias("value"), pl.lit("Fear").alias("classification")
)
SERIES = {
    "bars": pl.concat([bars("BTCUSDT"), bars("ETHUSDT")]),
    "funding_rates": pl.concat([rates("BTCUSDT"), rates("ETHUSDT")]),
    "fear_greed": INDEX,
}
# What the questions leave out.
OTHERS = {
    "bars": [bars("BTCUSDT", "30m"), bars("BTCUSDT", exchange="kraken")],
    "funding_rates": [rates("BTCUSDT", "okx")],
    "fear_greed": [],
}


def recorded(exchange: str, recording: str) -> pl.DataFrame:
    """The trades of a recording as rows of Silver, with every 40th of them: the answers do not need more."""
    return (
        OURS[recording]
        .trades()
        .gather_every(40)
        .select(
            pl.lit(exchange).alias("exchange"),
            "symbol",
            "trade_id",
            *(
                pl.col(text).str.to_decimal(scale=18).cast(pl.Decimal(38, 18)).alias(name)
                for text, name in (("price", "price"), ("qty", "quantity"))
            ),
            (pl.col("trade_time_ns").cast(pl.Int64) // 1000).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
            "side",
            pl.col("trade_id").cast(pl.UInt64).alias("sequence"),
        )
        .with_columns(
            (pl.col("price").cast(pl.Decimal(38, 8)) * pl.col("quantity").cast(pl.Decimal(38, 8)))
            .cast(pl.Decimal(38, 20))
            .alias("quote_volume")
        )
    )


@pytest.fixture(scope="module")
def trades(engine: Engine, warehouse: Settings) -> pl.DataFrame:
    """What Silver holds: two exchanges with the same symbols; no trade of one market in the hole."""
    rows = pl.concat(
        [recorded("binance", "binance_spot_trades"), recorded("binance_usdm", "binance_usdm_trades")]
    ).filter(~(pl.col("timestamp").is_between(*HOLE) & (pl.col("symbol") == "ETHUSDT")))
    engine.insert(f"{warehouse.clickhouse_database}.silver_trades", rows)
    gaps = pl.DataFrame(
        {
            "exchange": "binance",
            "symbol": "ETHUSDT",
            "from_time": [HOLE[0], HOLE[0] - timedelta(minutes=2)],
            "to_time": [HOLE[1], HOLE[0]],
            "ids_open": pl.Series([7, 0], dtype=pl.UInt64),
            "state": ["open", "healed"],
            "detected_at": [HOLE[1], HOLE[1]],
        }
    ).with_columns(pl.col("from_time", "to_time", "detected_at").cast(pl.Datetime("us", "UTC")))
    engine.insert(f"{warehouse.clickhouse_database}.producer_gaps_log", gaps)
    return rows


Ask = Callable[[str], pl.DataFrame]


@pytest.fixture
def ask(engine: Engine, warehouse: Settings, trades: pl.DataFrame) -> Ask:
    """The answer of the block under a heading."""

    def asked(heading: str) -> pl.DataFrame:
        engine.query(f"USE {warehouse.clickhouse_database}", "TSV")
        try:
            found = engine.frame(SQL[heading])
        finally:
            engine.query("USE default", "TSV")
        texts = [name for name, kind in found.schema.items() if kind == pl.Binary]
        return found.with_columns(pl.col(texts).cast(pl.String))

    return asked


def candles(trades: pl.DataFrame, length: str, start: str = "window_start") -> pl.DataFrame:
    """Candles by polars, as doubles."""
    ordered = trades.sort("timestamp", "sequence", "trade_id")
    window = pl.col("timestamp").dt.truncate(length).alias(start)
    return (
        ordered.group_by(*MARKET, window, maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("quantity").sum().alias("volume"),
            pl.len().cast(pl.UInt64).alias("trade_count"),
        )
        .with_columns(pl.col(pl.Decimal).cast(pl.String).cast(pl.Float64))
        .sort(*MARKET, start)
    )


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Equal but for the unit of times and the last place of a double."""
    moments = [name for name, kind in expected.schema.items() if kind == pl.Datetime]
    found = found.with_columns(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in moments)
    assert_frame_equal(found, expected.select(found.columns), rel_tol=1e-12, check_dtypes=False)


def test_vwap(ask: Ask, trades: pl.DataFrame) -> None:
    value, amount = (pl.col(name).sum().cast(pl.String).cast(pl.Float64) for name in ("quote_volume", "quantity"))
    assert_same(ask("VWAP"), trades.group_by(MARKET).agg((value / amount).alias("vwap")).sort(MARKET))


def test_returns(ask: Ask, trades: pl.DataFrame) -> None:
    minutes = candles(trades, "1m")
    before = pl.col("close").shift(1).over(MARKET)
    expected = minutes.with_columns((pl.col("close") / before - 1).alias("simple")).with_columns(
        pl.col("simple").log1p().alias("logarithmic")
    )
    found = ask("Returns")
    assert found["simple"].null_count() == minutes.select(MARKET).n_unique()
    # log(1 + x) has lost what log1p keeps.
    assert_frame_equal(
        found.select("simple", "logarithmic"),
        expected.select("simple", "logarithmic"),
        abs_tol=1e-13,
        check_dtypes=False,
    )
    assert_same(found.drop("simple", "logarithmic"), expected)


@pytest.mark.parametrize(("heading", "length"), [("Candles of 2 hours", "2h"), ("Candles of a week", "1w")])
def test_longer_candles(ask: Ask, trades: pl.DataFrame, heading: str, length: str) -> None:
    found, expected = ask(heading), candles(trades, length, "start")
    assert expected.select(MARKET).n_unique() < expected.height
    assert_same(found.with_columns(pl.col("start").cast(pl.Datetime("us", "UTC"))), expected)


def test_filled_minutes(ask: Ask, trades: pl.DataFrame) -> None:
    start, end = datetime(2024, 8, 8, 23, 50, tzinfo=UTC), datetime(2024, 8, 9, 0, 10, tzinfo=UTC)
    minutes = candles(trades.filter(pl.col("timestamp").is_between(start, end, closed="left")), "1m")
    filled = pl.concat(
        market.select("window_start", "close", "volume")
        .upsample("window_start", every="1m")
        .with_columns(pl.lit(name[0]).alias("exchange"), pl.lit(name[1]).alias("symbol"))
        .with_columns(pl.col("close").forward_fill(), pl.col("volume").fill_null(0))
        for name, market in minutes.group_by(MARKET, maintain_order=True)
    )
    assert filled.height > minutes.height
    assert_same(ask("Filled minutes"), filled)


def test_spread_across_exchanges(ask: Ask, trades: pl.DataFrame) -> None:
    close = pl.col("close")
    expected = (
        candles(trades, "1m")
        .group_by("symbol", "window_start")
        .agg(
            pl.len(),
            pl.col("exchange").sort_by("close").first().alias("cheapest"),
            pl.col("exchange").sort_by("close").last().alias("dearest"),
            ((close.max() / close.min() - 1) * 10_000).alias("basis_points"),
        )
        .filter(pl.col("len") > 1)
        .sort("symbol", "window_start")
    )
    found = ask("Spread across exchanges")
    assert found.height == expected.height > 5
    assert_frame_equal(found.select("cheapest", "dearest"), expected.select("cheapest", "dearest"))
    assert_frame_equal(found.select("basis_points"), expected.select("basis_points"), abs_tol=1e-8)


def test_spread_of_two_exchanges(ask: Ask, trades: pl.DataFrame) -> None:
    close = candles(trades, "1m").select("exchange", "symbol", "window_start", "close")
    spot, future = (
        close.filter(exchange=exchange).drop("exchange").rename({"close": f"{name}_close"})
        for exchange, name in (("binance", "spot"), ("binance_usdm", "future"))
    )
    expected = spot.join(future, on=["symbol", "window_start"]).sort("symbol", "window_start")
    spread = ((pl.col("future_close") / pl.col("spot_close") - 1) * 10_000).alias("basis_points")
    found = ask("Spread of two exchanges")
    assert found.height > 5
    assert_same(found.drop("basis_points"), expected)
    assert_frame_equal(found.select("basis_points"), expected.select(spread), abs_tol=1e-8)


def test_a_left_join_needs_the_setting_that_the_page_names(
    engine: Engine, warehouse: Settings, trades: pl.DataFrame
) -> None:
    one = f"{warehouse.clickhouse_database}.gold_ohlcv_1m"
    sql = (
        f"SELECT b.close FROM {one} AS a LEFT JOIN {one} AS b ON b.symbol = concat(a.symbol, '-NONE') AND b.exchange ="
        " a.exchange LIMIT 1"
    )
    assert engine.execute(sql) == [[0]]
    assert engine.execute(f"{sql} SETTINGS join_use_nulls = 1") == [[None]]


def test_decimals_that_the_analysts_page_warns_of(engine: Engine) -> None:
    """If the engine learns this arithmetic, the warning may go."""
    price = "toDecimal128('61000.5', 18)"
    sql = f"SELECT {price} % 7, positiveModulo({price}, 7), arrayProduct([{price}, {price}]), {price} * {price}"
    wrong = [float(value) for value in engine.execute(sql)[0]]
    assert all(value < right for value, right in zip(wrong, [2.5, 2.5, 61000.5**2, 61000.5**2], strict=True))
    assert engine.execute(f"SELECT toFloat64(toString({price})) % 7") == [[2.5]]


def test_latest_prices(engine: Engine, warehouse: Settings, ask: Ask, trades: pl.DataFrame) -> None:
    refresh(engine, warehouse)
    last = trades.sort("timestamp", "sequence").group_by(MARKET).last().sort(MARKET)
    found = ask("Latest prices")
    assert found["last_price"].to_list() == [float(str(price)) for price in last["price"]]
    assert found["last_time"].to_list() == last["timestamp"].to_list()


def test_a_candle_has_its_own_gaps_and_most_have_none(ask: Ask, trades: pl.DataFrame) -> None:
    found = ask("Candles with their gaps").with_columns(pl.col("window_start").cast(pl.Datetime("us", "UTC")))
    touched = (
        (pl.col("exchange") == "binance")
        & (pl.col("symbol") == "ETHUSDT")
        & (pl.col("window_start") >= HOLE[0].replace(second=0))
        & (pl.col("window_start") <= HOLE[1])
    )
    expected = candles(trades, "1m").with_columns(
        pl.when(touched).then(1).otherwise(0).alias("gaps"),
        pl.when(touched).then(7).otherwise(0).alias("trades_missing"),
    )
    assert 0 < expected["gaps"].sum() < expected.height
    assert_same(found, expected)


def test_the_trade_behind_a_high(ask: Ask, trades: pl.DataFrame) -> None:
    start = datetime(2024, 8, 8, 23, 55, tzinfo=UTC)
    minute = trades.filter(
        pl.col("timestamp").is_between(start, start + timedelta(minutes=1), closed="left"),
        exchange="binance",
        symbol="BTCUSDT",
    )
    highest = minute.sort("price", "timestamp", "sequence", descending=[True, False, False]).row(0, named=True)
    (found,) = ask("From a wrong number to its payload").to_dicts()
    assert found["trade_id"] == highest["trade_id"]


def landed(engine: Engine, warehouse: Settings, name: str, *versions: pl.DataFrame) -> None:
    """Answers of a provider, one a frame of texts; times in ms since the epoch."""
    for number, rows in enumerate(versions):
        answer = Answer("test", "GET", RECEIVED_US + number, b"[]", rows.to_dicts())
        landing = pl.from_arrow(landing_rows(series_named(name), [answer]))
        assert isinstance(landing, pl.DataFrame)
        engine.insert(f"{warehouse.clickhouse_database}.{name}_landing", landing)


def latest(rows: pl.DataFrame, time: str, numbers: list[str], count: int) -> pl.DataFrame:
    """The newest rows, typed as the views show them."""
    keys = [time, "symbol"] if "symbol" in rows.columns else [time]
    return (
        rows.with_columns(
            pl.from_epoch(pl.col(time).cast(pl.Int64), "ms").dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC")),
            *(pl.when(pl.col(name) != "").then(pl.col(name)).cast(pl.Float64).alias(name) for name in numbers),
        )
        .sort(keys, descending=[True, *[False] * (len(keys) - 1)])
        .head(count)
    )


@pytest.mark.parametrize(
    ("series", "heading", "time", "numbers", "limit"),
    [
        ("bars", "Latest bars", "window_start", ["open", "high", "low", "close", "volume"], 100),
        ("funding_rates", "Funding history", "funding_time", ["rate", "mark_price"], 100),
        ("fear_greed", "Index trend", "day", ["value"], 30),
    ],
)
def test_newest_rows_of_a_series(
    ask: Ask,
    engine: Engine,
    warehouse: Settings,
    series: str,
    heading: str,
    time: str,
    numbers: list[str],
    limit: int,
) -> None:
    """Of each row the version that came last, and neither rows of another market nor of another frame."""
    rows = SERIES[series]
    old = rows.with_columns(pl.lit("7").alias(numbers[-1]))
    landed(engine, warehouse, series, old, rows, *OTHERS[series])
    assert rows.height > limit
    expected = latest(rows, time, numbers, limit)
    found = ask(heading)
    if series == "bars":
        assert found["is_closed"].all()
        found = found.drop("is_closed")
    assert_same(found.with_columns(pl.col(time).cast(pl.Datetime("us", "UTC"))), expected)


def test_every_block_has_its_test() -> None:
    """A block that is added to the page is added here."""
    assert set(SQL) == {
        *("VWAP", "Returns", "Candles of 2 hours", "Candles of a week", "Filled minutes", "Spread across exchanges"),
        *("Spread of two exchanges", "Latest bars", "Funding history", "Index trend"),
        *("Latest prices", "Candles with their gaps", "From a wrong number to its payload"),
    }
