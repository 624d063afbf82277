"""Whatever a message and its metadata are, and whatever the data folder is called: no layer stops, none loses it.

`METADATA_SEED` draws other messages.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema

from cli.common.context import load_settings
from config.settings import Settings
from deploy.embedded.layout import DataDir, StackError
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.locations import file_function
from offload.clickhouse.tiers import Tiers
from offload.errors import WarehouseError
from offload.files.version_hint import publish_hints
from offload.pins import Pins
from offload.proof.counts import stream_lineage
from offload.proof.trace import Tracer
from offload.rederive.from_raw import rederive_from_raw
from offload.retention.gate import close_gate
from offload.retention.union_views import update_union_views
from offload.run import run
from offload.tables.catalog import ColdTier, ensure_tables, open_catalog
from tests.cli.conftest import Running

SEED = int(os.environ.get("METADATA_SEED", "20261128"))
TOPIC = "market.crypto.trades.binance.raw"
# Enough for every kind of value and metadata; each hour of arrival they fall in costs a commit in every cold table.
MESSAGES = 60
DAY = datetime(2024, 8, 8, tzinfo=UTC)
END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp() * 1000)
# 2026-11-28 in s, ms, µs and ns, the limits of each layer, and what is no time.
TIMES = [
    *(1_795_860_000 * 10**unit for unit in (0, 3, 6, 9)),
    *(1, -1, -2, -1_795_860_000_000, 2**63 - 1, -(2**63), END_MS - 1, END_MS, 253_402_300_799_999, 253_402_300_800_000),
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack in a folder whose name has a space, per-cent signs, quotes and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("odd")
    symbols = Path(__file__).resolve().parents[2] / "config" / "symbols.yaml"
    stack = Running(folder / "100% da%20ta %s %(a)s 'q' \"ü日", symbols, folder / "home")
    stack.run("up", "--detach")
    yield stack
    stack.run("down", "--timeout", "0")


def trade(number: int, side: str = "BUY") -> bytes:
    """A raw message of the trade `number`."""
    payload = json.dumps({"t": str(number), "p": "61000.5", "q": "0.25"})
    moment = str(int(DAY.timestamp() * 1000) + number * 1000)
    message = {"exchange": "binance", "symbol": "BTCUSDT", "trade_id": str(number), "price": "61000.5",
               "quantity": "0.25", "timestamp": moment, "side": side, "sequence": "",
               "received_at": 1_723_100_000_000_000, "payload": payload}  # fmt: skip
    return json.dumps(message).encode()


def values(draw: random.Random) -> Iterator[bytes | None]:
    """Trades, some of them again, rejects, and what is no message of ours."""
    for number in range(1, MESSAGES):
        yield trade(number)
        kind = draw.randrange(8)
        yield from [[trade(number)], [trade(number + 10_000, "HOLD")], [None], [b""], [b"\xff\xfe{"], [b"[1]"], [], []][
            kind
        ]


def metadata(draw: random.Random) -> dict[str, object]:
    """A key, headers and a timestamp."""
    keys = [None, b"", b"binance:BTCUSDT", draw.randbytes(20), b"%s'\\", b"k" * 100_000]
    header = [("a", None), ("a", b""), ("", draw.randbytes(9)), ("ü", "日".encode())]
    headers = draw.choice([None, [], header, [("source", b"replay")] * 300])
    time = draw.choice([*TIMES, draw.randrange(-(2**63), 2**63), draw.randrange(END_MS)])
    return {"key": draw.choice(keys), "headers": headers, "timestamp": time}


def produce(settings: Settings) -> int:
    """Messages with any metadata; how many of them have a value."""
    draw = random.Random(SEED)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "linger.ms": 0})
    partitions = len(producer.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions)
    sent = 0
    for value in values(draw):
        producer.produce(TOPIC, value=value, partition=draw.randrange(partitions), **metadata(draw))  # type: ignore[arg-type]
        sent += bool(value)
    assert producer.flush(60) == 0
    return sent


# Its siblings: ddl/test_kafka_times.py and stack/test_recordings.py have metadata and bad input one by one.
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_any_metadata_in_any_folder(odd: Running) -> None:
    settings = load_settings(odd.folder)
    sent = produce(settings)
    odd.run("drain", "--timeout", "120")
    hot = ClickHouseHttp(settings)
    (raw,) = hot.rows(
        "SELECT count() AS messages, uniqExact(_topic, _partition, _offset, published_at) AS places,"
        " toInt64(min(toUnixTimestamp64Milli(published_at))) AS first,"
        " toInt64(max(toUnixTimestamp64Milli(published_at))) AS last FROM trades_raw",
        {},
    )
    assert (raw["messages"], raw["places"]) == (sent, sent)
    assert raw["first"] >= 0
    assert raw["last"] < END_MS
    run(Tiers.open(settings), until_now=True)
    # The command says what it compared.
    told = odd.json("lineage", "verify")
    assert (told["holds"], told["counted"]["messages"], told["cold"]["complete"]) == (True, sent, True)
    assert {table["table"]: table["hot_rows"] for table in told["cold"]["tables"]}["raw_trades"] == sent
    assert told["gone"], "tombstones have no row; with --strict they are exit code 1"
    assert len(odd.json("dlq", "list", "--limit", "10000")) > 0
    # Repeated by today's rules the day is the same, also from Raw.
    redone = rederive_from_raw(Tiers.open(settings), DAY, DAY + timedelta(days=1))
    assert [day.exchange for day in redone.days] == ["binance"]
    for day in redone.days:
        assert (day.added, day.removed, day.altered, day.unfounded, day.letters_added) == (0, 0, 0, 0, 0)
    # Another tool's reader, by the views over the folder.
    tiers = Tiers.open(settings)
    assert not any(view.created for view in update_union_views(tiers.hot, publish_hints(tiers.cold)))
    Pins(ColdTier.open(settings)).create("any")
    pinned = Pins(ColdTier.open(settings)).publish("any", ClickHouseHttp(settings))
    assert hot.rows(f"SELECT count() AS rows FROM {pinned}.raw_trades", {}) == [{"rows": sent}]
    places = traced(settings)
    # The gate lets everything go, and the proof then holds in Iceberg alone.
    report = close_gate(Tiers.open(settings), drop=True, now=datetime(2250, 1, 1, tzinfo=UTC))
    assert {verdict.state for verdict in report.verdicts} == {"dropped"}
    tables = ensure_tables(open_catalog(settings), settings.iceberg_namespace)
    counts = list(stream_lineage(hot, DAY, tables=tables))
    assert sum(count.raw for count in counts) == sent
    assert all(count.holds for count in counts)
    assert traced(settings) == places


def traced(settings: Settings) -> list[tuple[str, int, int, datetime] | None]:
    """Where some of the trades' messages are; every one is found, as it was sent."""
    tracer = Tracer(Tiers.open(settings))
    traces = [tracer.trade("binance", "BTCUSDT", str(number)) for number in range(1, MESSAGES, 20)]
    assert {trace.fate for trace in traces} == {"silver"}
    assert not any(trace.changes for trace in traces)
    return [trace.coordinates for trace in traces]


def test_a_folder_that_clickhouse_cannot_read_is_refused(tmp_path: Path) -> None:
    for mark in [*"*?{}[]\\#,", "::"]:
        with pytest.raises(StackError, match="choose another one with --data-dir"):
            DataDir(tmp_path / f"a{mark}b").create()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", [",", "::"])
def test_a_warehouse_that_clickhouse_cannot_read_is_refused(mark: str, tmp_path: Path) -> None:
    catalog = SqlCatalog("test", uri="sqlite://", warehouse=f"file://{tmp_path}/a{mark}b")
    catalog.create_namespace("cold")
    table = catalog.create_table("cold.trades", Schema())
    with pytest.raises(WarehouseError, match="whose path has none of"):
        file_function(table)
