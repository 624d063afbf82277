"""Invariant: every recording parses to exactly the trades of its independent ground truth, and to nothing else."""

from __future__ import annotations

import functools
import json
from collections import Counter

import polars as pl
import pytest

from producers.exchanges import exchange
from producers.exchanges.model import Control, Trade, Trades
from producers.replay.recording import Recording
from producers.timestamps import event_time_us
from tests.producers.conftest import each_recording
from tests.recorded import Recorded

_LONGEST = 1 << 25


def frames(recorded: Recorded) -> list[bytes]:
    with Recording(recorded.path, longest_message=_LONGEST) as recording:
        return list(recording)


@functools.lru_cache(maxsize=1)
def parsed_frames(recorded: Recorded) -> list[tuple[bytes, object]]:
    """Each frame and what the parser makes of it, for the tests of one recording after the other."""
    parse = exchange(recorded.code).parse
    return [(frame, parse(frame)) for frame in frames(recorded)]


def trades(recorded: Recorded) -> list[Trade]:
    return [trade for _, parsed in parsed_frames(recorded) if isinstance(parsed, Trades) for trade in parsed.records]


@each_recording
def test_unique_trades_are_the_expected_ones_character_for_character(recorded: Recorded) -> None:
    records = trades(recorded)
    got = {
        (one.symbol, one.trade_id): (one.price, one.quantity, one.side, (event_time_us(one.timestamp) or 0) * 1_000)
        for one in records
    }
    expected = {
        (row["symbol"], row["trade_id"]): (row["price"], row["qty"], row["side"], int(row["trade_time_ns"]))
        for row in recorded.trades().iter_rows(named=True)
    }
    assert got == expected
    assert len(records) == len(recorded.frames().trades)


@each_recording
def test_other_messages_are_counted_by_kind_and_yield_no_trade(recorded: Recorded) -> None:
    kinds: Counter[str] = Counter()
    for frame, parsed in parsed_frames(recorded):
        assert isinstance(parsed, Trades | Control), frame
        kinds[parsed.kind if isinstance(parsed, Control) else "trades"] += 1
    assert kinds == recorded.frames().kinds


@each_recording
def test_payload_is_a_verbatim_slice_that_holds_the_same_trade(recorded: Recorded) -> None:
    for frame, parsed in parsed_frames(recorded):
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
    expected = recorded.candles().sort("symbol", "open_time_ms")
    assert got["symbol"].to_list() == expected["symbol"].to_list()
    for name in ("first_trade_id", "last_trade_id"):
        assert got[name].to_list() == expected[name].to_list()
    for name in ("open", "close"):
        assert got[name].cast(pl.Decimal(38, 18)).to_list() == expected[name].to_list()
    assert got["trades"].to_list() == expected["trade_count"].to_list()


@each_recording
def test_frames_of_another_exchange_never_yield_a_trade(recorded: Recorded) -> None:
    """A parser is not fooled by frames of the other venues."""
    venue = recorded.code.partition("_")[0]
    for code in ("binance", "kraken", "bybit", "okx", "coinbase"):
        if code != venue:
            parse = exchange(code).parse
            assert not any(isinstance(parse(frame), Trades) for frame in frames(recorded)[:1_000])


def test_unknown_code_lists_what_exists() -> None:
    from producers.exchanges import UnknownExchangeError

    with pytest.raises(UnknownExchangeError, match=r"mtgox.*binance_usdm"):
        exchange("mtgox")
