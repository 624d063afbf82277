"""Bronze tables for tests: valid trades, and single fields changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from config.registry import SymbolRegistry
from schemas.records import BRONZE
from silver_processor.core.rules import Rules

MOMENT = datetime(2024, 8, 8, 23, 54, 15, 342000, tzinfo=UTC)
TRADE: dict[str, Any] = {
    "exchange": "binance",
    "symbol": "BTCUSDT",
    "trade_id": "3735683259",
    "price_text": "61837.63000000",
    "quantity_text": "0.02000000",
    "timestamp": MOMENT,
    "timestamp_raw": "1723161255342",
    "side": "SELL",
    "sequence": "",
    "kind": "",
    "matches": "",
    "defect": "",
    "raw_topic": "market.crypto.trades.binance.raw",
    "raw_partition": 0,
    "raw_offset": 0,
    "published_at": MOMENT,
    "received_at": MOMENT,
    "ingested_at": MOMENT,
}
DOCUMENT: dict[str, Any] = {
    "version": 3,
    "defaults": {"price_max": 1000000, "quantity_max": 100000},
    "exchanges": {
        "binance": {
            "BTCUSDT": {"canonical": "BTCUSDT", "base": "BTC", "quote": "USDT"},
            "ETHUSDT": {"canonical": "ETHUSDT", "base": "ETH", "quote": "USDT"},
            "SHIBUSDT": {"canonical": "SHIBUSDT", "base": "SHIB", "quote": "USDT", "quantity_max": "1000000000000"},
            "FINEUSDT": {
                "canonical": "FINEUSDT",
                "base": "FINE",
                "quote": "USDT",
                "price_max": "12.3400000000000000001",
            },
            "WIDEUSDT": {"canonical": "WIDEUSDT", "base": "WIDE", "quote": "USDT", "price_max": "1e400"},
        },
        "kraken": {"BTC/USD": {"canonical": "BTCUSD", "base": "BTC", "quote": "USD", "aliases": ["XBT/USD"]}},
        "okx": {"BTC-USD-SWAP": {"canonical": "BTCUSD-SWAP", "base": "BTC", "quote": "USD"}},
    },
}
# Kraken's BTC/USD under many names.
NAMES = ("BTC/USD", "XBT/USD", *(f"XBT{number}/USD" for number in range(6)))
MARKET: dict[str, Any] = {"canonical": "BTCUSD", "base": "BTC", "quote": "USD", "aliases": list(NAMES[1:])}
REGISTRY = SymbolRegistry.of(DOCUMENT)
RULES = Rules.of(REGISTRY)


def bronze(changes: Sequence[dict[str, Any]]) -> pa.Table:
    """One valid trade a change, with the change applied; `raw_offset` counts the rows unless changed."""
    return pa.Table.from_pylist(
        [TRADE | {"raw_offset": row} | change for row, change in enumerate(changes)], schema=BRONZE
    )
