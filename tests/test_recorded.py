"""Invariants: the truth that tests compare with is what others computed; the synthetic recordings are hard cases."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from tests.recorded import FOLDER, MORE, OTHERS, OURS
from tests.recordings import synthetic

GIVEN = sorted([*(FOLDER / "expected").glob("*.csv.gz"), *(MORE / "expected").glob("*.csv.gz")])
_DECIMALS = ("open", "high", "low", "close", "volume", "quote_volume")


@pytest.mark.parametrize("given", GIVEN, ids=lambda path: f"{path.parts[-3]}/{path.name.removesuffix('.csv.gz')}")
def test_our_reading_of_a_recording_is_what_others_computed(given: Path) -> None:
    name, what, *_ = given.name.split(".")
    recorded = {**OTHERS, **OURS}[name]
    theirs = pl.read_csv(gzip.decompress(given.read_bytes()), infer_schema=False)
    if what == "trades":
        assert recorded.trades().equals(theirs)
        return
    theirs = theirs.with_columns(
        pl.col("open_time_ms").cast(pl.Int64),
        *(pl.col(column).str.to_decimal(scale=20).alias(column) for column in _DECIMALS),
        trade_count=pl.col("trade_count").cast(pl.UInt32),
    )
    ours = recorded.candles().with_columns(pl.col(column).cast(pl.Decimal(38, 20)) for column in _DECIMALS)
    columns = ("symbol", "open_time_ms", *_DECIMALS, "trade_count", "first_trade_id", "last_trade_id")
    assert ours.select(columns).rows() == theirs.select(columns).sort("symbol", "open_time_ms").rows()


def test_the_combined_stream_has_the_trades_of_the_other_recording() -> None:
    spot = OURS["binance_spot_trades"]
    assert OURS["binance_spot_all_streams_tenth"].frames().trades == spot.frames().trades
    assert spot.trades().height == 15_863


@pytest.mark.parametrize("name", synthetic.RECORDINGS)
def test_a_synthetic_recording_is_what_the_script_makes(name: str) -> None:
    assert OURS[name].text().encode() == synthetic.lines(name), "python -m tests.recordings.synthetic"


def test_kraken_loses_its_connection_and_sends_50_again_of_which_49_are_known() -> None:
    recorded = OURS["kraken_v2_btcusdt_synthetic"]
    frames, messages = recorded.frames(), [json.loads(line) for line in recorded.text().splitlines()]
    assert (len(frames.trades), recorded.trades().height) == (449, 400)
    assert frames.kinds["status"] == frames.kinds["ack"] == 2
    assert frames.kinds["heartbeat"] > 100
    assert [len(one["data"]) for one in messages if one.get("type") == "snapshot"] == [50, 50]
    updates = [one["data"] for one in messages if one.get("channel") == "trade" and one["type"] == "update"]
    assert max(len({one["timestamp"] for one in update}) for update in updates) == 1
    assert max(map(len, updates)) > 10
    assert '"qty":0.00000001,' in recorded.text(), "a float would be 1e-08"
    assert any(trade.price.endswith("0") for trade in frames.trades), "a float would lose the zero"
    assert len({trade.time_ns // (86_400 * 10**9) for trade in frames.trades}) == 2


def test_only_the_sequence_orders_bybit_s_trades() -> None:
    recorded = OURS["bybit_v5_linear_synthetic"]
    frames = recorded.frames()
    assert frames.kinds["ack"] == recorded.trades()["symbol"].n_unique() == 4
    assert not any(trade.trade_id.isdigit() for trade in frames.trades)
    assert len({(trade.symbol, trade.order) for trade in frames.trades}) < len(frames.trades), "several trades a match"
    last: dict[tuple[str, int], int] = {}
    against = 0
    for trade in frames.trades:
        key = trade.symbol, trade.time_ns
        against += trade.order < last.get(key, 0)
        last[key] = trade.order
    assert against > 3, "no trade arrives before an earlier one of the same time"


def test_coinbase_sends_its_newest_trade_first_and_before_the_acknowledgement() -> None:
    recorded = OURS["coinbase_advanced_btcusd_synthetic"]
    messages = [json.loads(line) for line in recorded.text().splitlines()]
    assert messages[0]["events"][0]["type"] == "snapshot"
    ids = [[int(one["trade_id"]) for one in message["events"][0].get("trades", ())] for message in messages]
    assert all(some == sorted(some, reverse=True) for some in ids)
    assert max(map(len, ids[1:])) > 1
    assert recorded.frames().kinds.keys() == {"trades", "ack", "heartbeat"}


def test_okx_has_a_spot_pair_a_future_and_a_swap() -> None:
    recorded = OURS["okx_v5_trades_synthetic"]
    assert set(recorded.trades()["symbol"]) == {"BTC-USDT", "BTC-USD-220527", "UNI-USD-SWAP"}
    assert recorded.frames().kinds["ack"] == 6
    times = [(trade.symbol, trade.time_ns) for trade in recorded.frames().trades]
    assert len(set(times)) < len(times)
