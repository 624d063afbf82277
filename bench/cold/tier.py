"""A ClickHouse node with an hour of trades in every layer, and an empty warehouse for the offload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa

from bench.load import SOURCES
from bench.node import node
from bench.trades import TradeStream
from config.registry import SymbolRegistry
from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from producers.kafka.envelope import encode

MARKETS = 40
_CHUNK = 65_536
_SQL = Path(__file__).with_name("sql")


@dataclass(frozen=True, slots=True)
class Tier:
    """The settings to reach the node, its process, and the day (UTC) of the trades' event times."""

    settings: Settings
    node: psutil.Process
    day: datetime


@contextmanager
def tier(rows: int, say: Callable[[str], None]) -> Iterator[Tier]:
    """Start a node with `rows` unique trades of 40 markets. They traded and arrived within an hour of yesterday (UTC).

    Raises:
        bench.node.NodeError: the node did not start.
    """
    with node() as started:
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        say(f"Filling Raw, Bronze, Silver and Gold with {rows:,} trades …")
        _fill(started.settings, rows, day)
        yield Tier(started.settings, started.process, day)


def _fill(settings: Settings, rows: int, day: datetime) -> None:
    store = ClickHouseHttp(settings)
    stream = TradeStream.load(SOURCES, SymbolRegistry.load(settings.symbols_file), MARKETS, 1)
    began = int(day.timestamp()) * 1_000_000 + 12 * 3_600_000_000
    for start in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - start)
        moment = began + start * 3_500_000_000 // rows
        found = [
            {
                "exchange": one.exchange,
                "symbol": one.symbol,
                "trade_id": one.trade_id,
                "price": one.price,
                "quantity": one.quantity,
                "timestamp_raw": one.timestamp,
                "side": one.side,
                "raw_json": encode(one).decode(),
                "_topic": settings.raw_topic(one.exchange),
                "_partition": 0,
                "_offset": start + number,
                "published_at": moment // 1000,
                "received_at": one.received_at,
                "ingested_at": moment + number,
            }
            for number, one in enumerate(stream.take(count, moment))
        ]
        store.insert("trades_raw", pa.Table.from_pylist(found, _RAW))
    store.command((_SQL / "cold_silver.sql").read_text(encoding="utf-8"), {})
    store.close()


_TIME = pa.timestamp("us", tz="UTC")
_RAW = pa.schema(
    [
        *((name, pa.string()) for name in ("exchange", "symbol", "trade_id", "price", "quantity", "timestamp_raw")),
        *((name, pa.string()) for name in ("side", "raw_json", "_topic")),
        ("_partition", pa.uint32()),
        ("_offset", pa.uint64()),
        ("published_at", pa.timestamp("ms", tz="UTC")),
        ("received_at", _TIME),
        ("ingested_at", _TIME),
    ]
)
