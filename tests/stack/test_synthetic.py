"""Recordings nobody has seen: generated frames with awkward numbers, ties, many days, duplicates, out of order."""

from __future__ import annotations

import csv
import io
import json
import random
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests.stack import truth
from tests.stack.conftest import Medallion

pytestmark = pytest.mark.stack

SEED = 20261121
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SHIBUSDT", "DOGEUSDT", "XRPUSDT")
DAY_US = 86_400_000_000


def decimal_text(random_: random.Random, whole_digits: int, decimals: int) -> str:
    """A positive decimal as an exchange would print it, with leading and trailing zeros among its decimals."""
    whole = str(random_.randrange(10 ** random_.randrange(1, whole_digits + 1)))
    fraction = "".join(random_.choice("0000123456789") for _ in range(decimals))
    return f"{whole}.{fraction}1" if decimals else str(int(whole) + 1)


def make_trades(random_: random.Random, count: int) -> list[dict[str, object]]:
    """Unique trades over 400 days, many in one microsecond or millisecond, ids not in time order."""
    trades = []
    for number in range(count):
        day = random_.randrange(400)
        instant = random_.choice([0, 1, 60_000_000 - 1, 3_600_000_000, random_.randrange(DAY_US)])
        trades.append(
            {
                "s": random_.choice(SYMBOLS),
                "t": 10_000_000_000 + number,
                "p": decimal_text(random_, 6, random_.randrange(0, 9)),
                "q": decimal_text(random_, 5, random_.randrange(0, 9)),
                "T": 1_700_000_000_000_000 // DAY_US * DAY_US + day * DAY_US + instant,
                "m": random_.random() < 0.5,
            }
        )
    random_.shuffle(trades)
    return trades


def frame(trade: dict[str, object], combined: bool) -> str:
    """The Binance frame of a trade, raw or in the combined-stream wrapper."""
    data = {"e": "trade", "E": trade["T"], **trade, "M": True}
    wrapped = {"stream": f"{str(trade['s']).lower()}@trade", "data": data} if combined else data
    return json.dumps(wrapped, separators=(",", ":"))


@pytest.mark.nightly
def test_a_generated_recording_gives_the_true_candles(stack: Path, medallion: Medallion, tmp_path: Path) -> None:
    random_ = random.Random(SEED)
    trades = make_trades(random_, 8_000)
    frames = [frame(trade, random_.random() < 0.5) for trade in trades]
    frames += random_.sample(frames, 2_000)
    random_.shuffle(frames)
    recording = tmp_path / "generated.jsonl"
    recording.write_text("\n".join(frames) + "\n", encoding="ascii")

    medallion("replay", recording, "--exchange", "binance", "--data-dir", stack)
    medallion("drain", "--data-dir", stack)

    expected = pl.DataFrame(
        {
            "exchange": ["binance"] * len(trades),
            "symbol": [trade["s"] for trade in trades],
            "price": [Decimal(str(trade["p"])) for trade in trades],
            "quantity": [Decimal(str(trade["q"])) for trade in trades],
            "timestamp": [trade["T"] for trade in trades],
            "position": [trade["t"] for trade in trades],
        },
        schema_overrides={"price": pl.Decimal(38, 18), "quantity": pl.Decimal(38, 18)},
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("us")))
    for name in truth.FRAMES:
        answer = medallion(
            "query", f"SELECT * FROM gold_ohlcv_{name}_exact", "--format", "CSVWithNames", "--data-dir", stack
        )
        candles = {
            (row["exchange"], row["symbol"], row["window_start"]): {cell: truth.text(row[cell]) for cell in truth.CELLS}
            for row in csv.DictReader(io.StringIO(answer.stdout))
        }
        assert candles == truth.candles(expected, name), (SEED, name)
    medallion("lineage", "verify", "--data-dir", stack)
    counts = medallion("query", "SELECT count() FROM duplicate_trades", "--data-dir", stack).stdout
    assert counts == "2000\n"
