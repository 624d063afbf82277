"""Invariant 8: the Silver function and its index of seen trades need no more memory the longer they run.

`make bench-memory` shows the same of a whole worker over 50 million trades.
"""

from __future__ import annotations

import gc
from datetime import UTC, datetime

import psutil
import pytest

from bench.silver.feed import ROWS_A_MESSAGE, BronzeFeed, Market, avro
from config.registry import SymbolRegistry
from silver_processor.batching.batch import decode_message, validate
from silver_processor.core.rules import Rules
from silver_processor.seen.by_market import by_market
from silver_processor.seen.index import SeenTrades

_MESSAGES = 10
_TRADED_US = 1_750_000_000_000_000
_MIB = 2**20


@pytest.mark.nightly
@pytest.mark.parametrize("markets", [1, 500])
def test_memory_is_flat_over_a_stretch_of_trades(markets: int) -> None:
    listed = [Market("binance", f"S{number}USDT") for number in range(markets)]
    symbols = {one.symbol: {"canonical": one.symbol, "base": one.symbol[:-4], "quote": "USDT"} for one in listed}
    defaults = {"price_max": 1_000_000, "quantity_max": 100_000}
    rules = Rules.of(SymbolRegistry.of({"version": 1, "defaults": defaults, "exchanges": {"binance": symbols}}))
    feed = BronzeFeed(listed)
    seen = SeenTrades(lambda _rows, _token: pytest.fail("numeric ids never ask Silver"))

    def work(messages: int) -> int:
        """Bytes resident once the messages were validated."""
        for number in range(messages):
            message = decode_message(0, number, 0, avro(feed.take(ROWS_A_MESSAGE, _TRADED_US + number * 1_000_000, 1)))
            valid = validate([message], "bronze", rules, datetime.now(UTC)).valid
            trades = by_market(valid)
            seen.load(seen.unknown(trades))
            split = seen.split(valid, trades)
            assert (split.fresh.num_rows, split.duplicates.num_rows) == (ROWS_A_MESSAGE, 0)
            seen.add(split.fresh_trades())
        gc.collect()
        return psutil.Process().memory_info().rss

    work(_MESSAGES)
    middle = work(_MESSAGES)
    end = work(_MESSAGES)
    # Consecutive ids are one run for each 65,536 of a market; its size is counted again every 4 KiB.
    assert seen.memory_bytes < 6_000 * markets
    assert end - middle < 16 * _MIB
