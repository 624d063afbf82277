"""Made-up klines in Binance's format."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

DAY = datetime(2024, 8, 9, tzinfo=UTC)
DAY_MS = int(DAY.timestamp()) * 1_000
MINUTE_MS = 60_000


def kline(start_ms: int, price: str = "60000.10") -> list[object]:
    """One minute of twelve columns, as REST sends it."""
    return [
        start_ms,
        price,
        price,
        price,
        price,
        "1.50000000",
        start_ms + MINUTE_MS - 1,
        "90000.15",
        12,
        "0.5",
        "30000.05",
        "0",
    ]


def minutes(start_ms: int, count: int) -> list[list[object]]:
    return [kline(start_ms + number * MINUTE_MS, f"{60_000 + number % 100}.10") for number in range(count)]


def csv(klines: Sequence[Sequence[object]]) -> bytes:
    return b"".join(",".join(map(str, one)).encode() + b"\n" for one in klines)
