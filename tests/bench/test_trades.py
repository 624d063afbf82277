"""The load stream: what the producers would have made of real frames, and never the same trade twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.trades import Source, TradeStream
from config.registry import SymbolRegistry
from config.settings import DEFAULT_SYMBOLS_FILE
from producers.exchanges import REGISTRY
from producers.kafka.envelope import envelopes

AT_US = 1_790_000_000_123_456


@pytest.fixture(scope="module")
def stream(recordings: Path) -> TradeStream:
    sources = [
        Source("binance", recordings / "binance_spot_trades.jsonl.gz"),
        Source("binance_usdm", recordings / "binance_usdm_trades.jsonl.gz"),
    ]
    return TradeStream.load(sources, SymbolRegistry.load(DEFAULT_SYMBOLS_FILE), markets=11, first_id=10**9)


def test_envelopes_are_what_the_parser_makes_of_their_payload(stream: TradeStream) -> None:
    for envelope in stream.take(2_000, AT_US):
        frame = envelope.payload.encode()
        parsed = REGISTRY[envelope.exchange].parse(frame)
        assert envelopes(envelope.exchange, frame, parsed, AT_US) == [envelope]


def test_no_trade_comes_twice_and_all_markets_take_part(stream: TradeStream) -> None:
    made = stream.take(40_000, AT_US) + stream.take(40_000, AT_US + 1)
    assert len({(one.exchange, one.symbol, one.trade_id) for one in made}) == len(made)
    assert len({(one.exchange, one.symbol) for one in made}) == 11
    assert {one.timestamp for one in made} == {str(AT_US // 1_000)}
