"""A ClickHouse node with an hour of trades in every layer, and an empty warehouse for the offload."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import urllib3
from pydantic import SecretStr

from bench.load import SOURCES
from bench.trades import TradeStream
from config.registry import SymbolRegistry
from config.settings import Settings
from ddl.plan import without_superseded
from ddl.render import render
from ddl.statements import ObjectKind
from deploy.embedded.ports import LOOPBACK, free_ports
from offload.clickhouse.client import ClickHouseHttp
from producers.kafka.envelope import encode

MARKETS = 40
_CHUNK = 65_536
_PASSWORD_VARIABLE = "MEDALLION_CLICKHOUSE_PASSWORD"
_START_S = 120.0
_SQL = Path(__file__).parents[1] / "sql"


class TierError(RuntimeError):
    """The node did not start."""


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
        TierError: the node did not start.
    """
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as name:
        folder = Path(name)
        native, http = free_ports(2)
        command = [sys.executable, "-m", "deploy.embedded.clickhouse", "--path", str(folder / "store")]
        command += ["--native-port", str(native), "--http-port", str(http), "--password-env", _PASSWORD_VARIABLE]
        command += ["--readable", str(folder / "warehouse")]
        password = secrets.token_urlsafe()
        environment = {**os.environ, _PASSWORD_VARIABLE: password}
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, env=environment) as node,
        ):
            try:
                _wait(http, node, folder / "log")
                settings = Settings(
                    clickhouse_host=LOOPBACK,
                    clickhouse_port=native,
                    clickhouse_http_port=http,
                    clickhouse_password=SecretStr(password),
                    iceberg_catalog_uri=f"sqlite:///{folder}/catalog.db",
                    iceberg_warehouse=(folder / "warehouse").as_uri(),
                )
                day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
                say(f"Filling Raw, Bronze, Silver and Gold with {rows:,} trades …")
                _fill(settings, rows, day)
                yield Tier(settings, psutil.Process(node.pid), day)
            finally:
                node.terminate()
                node.wait()


def _wait(port: int, node: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            urllib3.request("GET", f"http://{LOOPBACK}:{port}/ping", retries=False, timeout=2)
            return
        except urllib3.exceptions.HTTPError as error:
            if node.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-500:]
                raise TierError(f"The ClickHouse node did not start: {said}") from error
            time.sleep(0.1)


def _fill(settings: Settings, rows: int, day: datetime) -> None:
    store = ClickHouseHttp(settings.model_copy(update={"clickhouse_database": "system"}))
    store.command(f"CREATE DATABASE {settings.clickhouse_database}", {})
    store.close()
    store = ClickHouseHttp(settings)
    statements = without_superseded(render(settings), ())
    # There is no broker here, so objects that read or write one are left out.
    kafka = {statement.object for statement in statements if statement.kind is ObjectKind.KAFKA_TABLE}
    for statement in statements:
        if statement.object not in kafka and not any(f".{name}" in statement.sql for name in kafka):
            store.command(statement.sql, {})
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
