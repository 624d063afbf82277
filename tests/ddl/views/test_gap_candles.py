"""Invariant: the join that docs/producers.md shows names every candle that lacks trades, and none that cannot."""

from __future__ import annotations

import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import polars as pl

from config.settings import Settings
from producers.exchanges import exchange
from producers.exchanges.model import Trade
from producers.gaps.consecutive_ids import ConsecutiveIds
from producers.gaps.events import GapEvents
from producers.gaps.gap import OPEN, UNFILLABLE
from producers.kafka.publisher import KafkaPublisher
from tests.ddl.engine import Engine
from tests.ddl.views.test_producer_gaps import Events

ROOT = Path(__file__).resolve().parents[3]
START_S, SECONDS, TRADES = 1_760_000_040, 3_600, 400
# Of both exchanges; the same canonical symbol on two venues must not mix.
MARKETS = {("kraken", "BTC/USD"): "BTCUSD", ("coinbase", "BTC-USD"): "BTCUSD", ("kraken", "ETH/USD"): "ETHUSD"}


def documented_query() -> str:
    (query,) = re.findall(r"```sql\n(SELECT c\.\*.*?)```", (ROOT / "docs" / "producers.md").read_text(), re.DOTALL)
    return str(query)


def tape(dice: random.Random, code: str, symbol: str) -> pl.DataFrame:
    """All trades that happened; `state`: healed and open ones are missing from the stream, healed ones came later."""
    moments = sorted(dice.randrange(SECONDS * 1_000_000) for _ in range(TRADES))
    state, left = [], 0
    for _ in moments:
        if left == 0 and dice.random() < 0.04:
            left, kind = dice.randint(1, 25), dice.choice(["healed", "open", "unfillable"])
        state.append(kind if left else "streamed")
        left = max(left - 1, 0)
    state[0] = state[-1] = "streamed"
    return pl.DataFrame({"time_us": moments, "state": state}).select(
        pl.lit(code).alias("exchange"),
        pl.lit(symbol).alias("own"),
        pl.lit(MARKETS[code, symbol]).alias("symbol"),
        (pl.int_range(pl.len()) + 1_000).alias("id"),
        pl.col("time_us") + START_S * 1_000_000,
        "state",
    )


def minutes(frame: pl.DataFrame) -> pl.DataFrame:
    """Trades a candle, by polars alone."""
    return frame.group_by("exchange", "symbol", (pl.col("time_us") // 60_000_000 * 60).alias("minute")).len()


def notes_of(tapes: list[pl.DataFrame], settings: Settings) -> tuple[list[bytes], list[dict[str, Any]]]:
    """What the detector sees of the stream and tells, in messages; and the gaps that are not healed."""
    notes, unhealed = Events(), []
    for frame in tapes:
        code, symbol = frame["exchange"][0], frame["own"][0]
        detector, tell = ConsecutiveIds(exchange(code)), GapEvents(cast(KafkaPublisher, notes), settings, code)

        def trade(row: dict[str, Any]) -> Trade:
            return Trade(row["own"], str(row["id"]), "1", "1", str(row["time_us"]), "BUY", "", "{}")

        gaps = detector.observe([trade(row) for row in frame.filter(state="streamed").iter_rows(named=True)])
        for gap in gaps:
            tell(gap)
        detector.fill([trade(row) for row in frame.filter(state="healed").iter_rows(named=True)])
        for gap in gaps:
            if gap.state == OPEN and frame.filter(id=int(gap.from_id))["state"][0] == "unfillable":
                gap.state = UNFILLABLE
            tell(gap)
            if gap.state in {OPEN, UNFILLABLE}:
                around = frame.filter(pl.col("id").is_in([int(gap.from_id) - 1, int(gap.to_id) + 1]))["time_us"]
                unhealed.append({"exchange": code, "symbol": MARKETS[code, symbol], "state": gap.state,
                                 "from_id": gap.from_id, "from_us": around.min(), "to_us": around.max()})  # fmt: skip
    return [value for _, _, value in notes.told], unhealed


def test_the_documented_join_names_every_candle_that_lacks_trades(engine: Engine, warehouse: Settings) -> None:
    dice = random.Random(11)
    tapes = [tape(dice, code, symbol) for code, symbol in MARKETS]
    everything = pl.concat(tapes)
    values, unhealed = notes_of(tapes, warehouse)
    database = warehouse.clickhouse_database
    engine.insert(f"{database}.producer_gaps_queue", pl.DataFrame({"raw_data": pl.Series(values, dtype=pl.Binary)}))
    arrived = everything.filter(pl.col("state").is_in(["streamed", "healed"]))
    one = pl.lit(Decimal(1))
    engine.insert(
        f"{database}.silver_trades",
        arrived.select(
            "exchange",
            "symbol",
            pl.col("id").cast(pl.String).alias("trade_id"),
            one.cast(pl.Decimal(38, 18)).alias("price"),
            one.cast(pl.Decimal(38, 18)).alias("quantity"),
            one.cast(pl.Decimal(38, 20)).alias("quote_volume"),
            pl.col("time_us").cast(pl.Datetime("us", "UTC")).alias("timestamp"),
            pl.lit("BUY").alias("side"),
            pl.col("id").cast(pl.UInt64).alias("sequence"),
        ),
    )
    query = documented_query().replace("gold_ohlcv_1m", f"{database}.gold_ohlcv_1m")
    query = query.replace("producer_gaps", f"{database}.producer_gaps")
    rows = engine.execute(
        "SELECT exchange, symbol, toUnixTimestamp(window_start), toUInt32(trade_count), from_id, state"
        f" FROM ({query.replace('c.*', 'c.exchange AS exchange, c.symbol AS symbol, c.window_start AS window_start, c.trade_count AS trade_count')})"  # noqa: E501
    )
    named = {(row[0], row[1], int(row[2])): int(row[3]) for row in rows}
    # Which candles are wrong: those that hold fewer trades than happened.
    truth = minutes(everything).join(minutes(arrived), on=["exchange", "symbol", "minute"], suffix="_arrived")
    wrong = set(truth.filter(pl.col("len") != pl.col("len_arrived")).select("exchange", "symbol", "minute").iter_rows())
    assert len(wrong) > 10
    assert wrong <= named.keys()
    # And each pair of a candle and a gap, by overlap of time.
    expected = {
        (code, symbol, minute, gap["from_id"], gap["state"])
        for code, symbol, minute, _ in minutes(arrived).iter_rows()
        for gap in unhealed
        if (code, symbol) == (gap["exchange"], gap["symbol"])
        and minute * 1_000_000 <= gap["to_us"]
        and gap["from_us"] < (minute + 60) * 1_000_000
    }
    assert {(row[0], row[1], int(row[2]), row[4], row[5]) for row in rows} == expected
    assert len(rows) == len(expected)
    counts = {(code, symbol, minute): count for code, symbol, minute, count in minutes(arrived).iter_rows()}
    assert all(counts[candle] == count for candle, count in named.items())
    assert len(named) < len(counts), "no candle is whole: the test shows nothing"


def test_the_documented_join_runs_as_it_is_written(engine: Engine, warehouse: Settings) -> None:
    engine.execute(f"USE {warehouse.clickhouse_database}")
    engine.execute(documented_query().rstrip() + " LIMIT 1")
