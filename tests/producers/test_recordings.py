"""Invariant: every recording parses to exactly the trades of its independent ground truth, and to nothing else."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import polars as pl
import pytest

from producers.exchanges import exchange
from producers.exchanges.model import Control, Trade, Trades
from producers.replay.recording import Recording
from producers.timestamps import event_time_us
from tests.producers.conftest import Recorded, each_recording

_LONGEST = 1 << 25
# Kind of frame in the ground truth's summary → ours, where the names differ.
_KINDS = {"subscribe": "ack", "subscriptions": "ack", "heartbeats": "heartbeat"}
_TRADE_KINDS = ("trade", "publicTrade", "market_trades")


def frames(recorded: Recorded) -> list[bytes]:
    with Recording(recorded.path, longest_message=_LONGEST) as recording:
        return list(recording)


def trades(recorded: Recorded) -> list[Trade]:
    parse = exchange(recorded.code).parse
    return [
        trade for frame in frames(recorded) if isinstance(parsed := parse(frame), Trades) for trade in parsed.records
    ]


def truth(recorded: Recorded, what: str) -> pl.DataFrame:
    with gzip.open(recorded.truth / f"{recorded.name}.{what}.csv.gz") as file:
        return pl.read_csv(file.read(), infer_schema=False)


@each_recording
def test_unique_trades_are_the_expected_ones_character_for_character(recorded: Recorded) -> None:
    records = trades(recorded)
    got = {
        (one.symbol, one.trade_id): (one.price, one.quantity, one.side, (event_time_us(one.timestamp) or 0) * 1_000)
        for one in records
    }
    expected = {
        (row["symbol"], row["trade_id"]): (row["price"], row["qty"], row["side"], int(row["trade_time_ns"]))
        for row in truth(recorded, "trades").iter_rows(named=True)
    }
    assert got == expected
    summary = json.loads((recorded.truth / "summary.json").read_text())[recorded.name]
    assert len(records) == summary["trade_records"]


@each_recording
def test_other_messages_are_counted_by_kind_and_yield_no_trade(recorded: Recorded) -> None:
    parse = exchange(recorded.code).parse
    kinds: Counter[str] = Counter()
    for frame in frames(recorded):
        parsed = parse(frame)
        assert isinstance(parsed, Trades | Control), frame
        kinds[parsed.kind if isinstance(parsed, Control) else "trades"] += 1
    expected: Counter[str] = Counter()
    for kind, count in json.loads((recorded.truth / "summary.json").read_text())[recorded.name][
        "messages_by_kind"
    ].items():
        expected["trades" if kind.startswith(_TRADE_KINDS) else _KINDS.get(kind, kind)] += count
    assert kinds == expected


@each_recording
def test_payload_is_a_verbatim_slice_that_holds_the_same_trade(recorded: Recorded) -> None:
    parse = exchange(recorded.code).parse
    for frame in frames(recorded):
        parsed = parse(frame)
        for trade in parsed.records if isinstance(parsed, Trades) else ():
            assert trade.payload.encode() in frame
            assert isinstance(json.loads(trade.payload), dict)
            for value in (trade.trade_id, trade.price, trade.quantity, trade.timestamp):
                assert value
                assert value in trade.payload


@each_recording
def test_order_key_gives_the_expected_open_and_close(recorded: Recorded) -> None:
    """(timestamp, sequence, else trade id as a number, trade id) reproduces the exchange's own order."""
    rows = [
        {
            "symbol": one.symbol,
            "us": event_time_us(one.timestamp),
            "sequence": int(one.sequence or one.trade_id),
            "trade_id": one.trade_id,
            "price": one.price,
        }
        for one in trades(recorded)
    ]
    assert all(row["sequence"] < 2**64 for row in rows)
    got = (
        pl.DataFrame(rows, schema_overrides={"sequence": pl.UInt64})
        .reverse()
        .unique(["symbol", "trade_id"])
        .sort("us", "sequence", "trade_id")
        .with_columns(minute=pl.col("us") // 60_000_000)
        .group_by("symbol", "minute", maintain_order=True)
        .agg(
            open=pl.first("price"),
            close=pl.last("price"),
            first_trade_id=pl.first("trade_id"),
            last_trade_id=pl.last("trade_id"),
            trades=pl.len(),
        )
        .sort("symbol", "minute")
    )
    candles = truth(recorded, "candles_1m")
    expected = candles.sort("symbol", pl.col("open_time_ms").cast(pl.Int64))
    assert got["symbol"].to_list() == expected["symbol"].to_list()
    for name in ("first_trade_id", "last_trade_id"):
        assert got[name].to_list() == expected[name].to_list()
    for name in ("open", "close"):
        assert got[name].cast(pl.Decimal(38, 18)).to_list() == expected[name].cast(pl.Decimal(38, 18)).to_list()
    assert got["trades"].to_list() == [int(count) for count in expected["trade_count"]]


@each_recording
def test_frames_of_another_exchange_never_yield_a_trade(recorded: Recorded) -> None:
    """A parser is not fooled by frames of the other venues."""
    venue = recorded.code.partition("_")[0]
    for code in ("binance", "kraken", "bybit", "okx", "coinbase"):
        if code != venue:
            parse = exchange(code).parse
            assert not any(isinstance(parse(frame), Trades) for frame in frames(recorded)[:3_000])


def test_unknown_code_lists_what_exists() -> None:
    from producers.exchanges import UnknownExchangeError

    with pytest.raises(UnknownExchangeError, match=r"mtgox.*binance_usdm"):
        exchange("mtgox")
