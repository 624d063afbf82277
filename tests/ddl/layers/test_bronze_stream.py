"""The Bronze topic: every raw message once, whole, in the shard of its market, readable as Avro."""

from __future__ import annotations

import base64
import io
import json

import fastavro
import polars as pl
import pytest

from config.settings import Settings
from ddl.render import render
from ddl.runner import apply
from schemas.records import BRONZE, DUPLICATE, SILVER, DeadLetter
from tests.ddl.conftest import core
from tests.ddl.engine import Engine
from tests.ddl.feed import envelope, publish


def columns(engine: Engine, settings: Settings, table: str) -> list[str]:
    database = settings.clickhouse_database
    rows = engine.execute(
        f"SELECT name FROM system.columns WHERE database = '{database}' AND table = '{table}' ORDER BY position"
    )
    return [row[0] for row in rows]


def test_tables_have_the_columns_of_their_records(engine: Engine, warehouse: Settings) -> None:
    assert columns(engine, warehouse, "bronze_trades_sink") == [*BRONZE.names, "_key"]
    assert columns(engine, warehouse, "silver_trades") == SILVER.names
    assert columns(engine, warehouse, "duplicate_trades") == DUPLICATE.names
    fields = [*DeadLetter.model_fields]
    assert columns(engine, warehouse, "dlq_trades")[: len(fields)] == fields


def test_every_message_goes_out_even_if_bronze_merges_it(engine: Engine, warehouse: Settings) -> None:
    messages = [envelope(trade_id="1"), envelope(trade_id="1"), b"", b"", envelope(timestamp="soon")]
    partition = publish(engine, warehouse, messages)
    sent = engine.execute(
        f"SELECT trade_id, defect, raw_offset, _key FROM {warehouse.clickhouse_database}.bronze_trades_sink "
        f"WHERE raw_partition = {partition} ORDER BY raw_offset"
    )
    assert sent == [
        ["1", "", 0, "0"],
        ["1", "", 1, "0"],
        ["", "malformed_envelope", 2, "0"],
        ["", "malformed_envelope", 3, "0"],
        ["1", "timestamp_invalid", 4, "0"],
    ]


@pytest.mark.parametrize("shards", [pytest.param(2, marks=pytest.mark.nightly), 7])
def test_a_market_has_one_shard_and_no_row_is_lost(engine: Engine, shards: int) -> None:
    settings = Settings(clickhouse_database=f"shards_{shards}", bronze_shards=shards)
    apply(engine, settings, core(settings))
    messages = [
        envelope(exchange=exchange, symbol=f"S{number % 40}", trade_id=str(number))
        for number in range(400)
        for exchange in ("binance", "kraken")
    ]
    publish(engine, settings, messages)
    rows = engine.execute(
        f"SELECT exchange, symbol, _key, count() FROM {settings.clickhouse_database}.bronze_trades_sink GROUP BY ALL"
    )
    assert sorted(row[3] for row in rows) == [10] * 80
    assert {row[2] for row in rows} == {str(shard) for shard in range(shards)}


@pytest.mark.parametrize("reader", ["polars", "fastavro"])
def test_avro_of_the_sink_reads_as_the_record(engine: Engine, warehouse: Settings, reader: str) -> None:
    """The format settings are taken from the sink's own CREATE statement."""
    partition = publish(
        engine, warehouse, [envelope(symbol='é\x00"', sequence="5"), envelope(payload="x" * 10**7), b""]
    )
    sink = next(s for s in render(warehouse) if s.object == "bronze_trades_sink")
    formats = [line.strip(" ,") for line in sink.sql.splitlines() if line.strip().startswith("output_format")]
    assert len(formats) == 3
    data = engine.query(
        f"SELECT {', '.join(BRONZE.names)} FROM {warehouse.clickhouse_database}.bronze_trades_sink"
        f" WHERE raw_partition = {partition} ORDER BY raw_offset SETTINGS {', '.join(formats)}",
        "Avro",
    )
    if reader == "polars":
        frame = pl.read_avro(io.BytesIO(data))
        assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
        assert frame.schema["published_at"] == pl.Datetime("ms", "UTC")
        rows = frame.with_columns(pl.col(pl.Datetime).to_physical()).to_dicts()
        assert rows[0]["timestamp"] == 1_723_161_600_123_000
    else:
        rows = list(fastavro.reader(io.BytesIO(data)))
        assert rows[0]["timestamp"].isoformat() == "2024-08-09T00:00:00.123000+00:00"
    assert [row["defect"] for row in rows] == ["", "message_too_large", "malformed_envelope"]
    assert (rows[0]["symbol"], rows[0]["sequence"], rows[0]["price_text"]) == ('é\x00"', "5", "60000.10")
    assert [row["raw_offset"] for row in rows] == [0, 1, 2]


DEAD = {
    "reason": "price_not_positive", "field": "price", "value": "-1", "rule": "price > 0", "limit": "0",
    "exchange": "binance", "symbol": "BTCUSDT", "trade_id": "1", "price_text": "-1", "quantity_text": "1",
    "timestamp_raw": "1723161600", "side": "BUY", "raw_topic": "t", "raw_partition": 3, "raw_offset": 2**53 + 1,
    "published_at": 1_723_161_600_123, "received_at": 1_723_161_600_123_456, "ingested_at": 1_723_161_600_123_457,
    "rejected_at": 1_723_161_600_123_458, "processor_version": "1", "rules_version": "2", "payload": '{"a": "\\\\"}',
    "payload_bytes": 9, "payload_encoding": "",
}  # fmt: skip


def rejected(topic: str, **changes: object) -> bytes:
    """A dead letter whose message was in the topic."""
    return json.dumps(DEAD | {"raw_topic": topic} | changes).encode()


def reject(engine: Engine, settings: Settings, records: list[bytes]) -> None:
    engine.insert(
        f"{settings.clickhouse_database}.dlq_trades_queue",
        pl.DataFrame({"raw_data": records, "_offset": pl.Series(range(len(records)), dtype=pl.UInt64)}),
    )


def test_a_reject_reads_back_and_counts_once(engine: Engine, warehouse: Settings) -> None:
    topic = "read back"
    first, a_day_later = rejected(topic), DEAD["rejected_at"] + 86_400_000_000  # type: ignore[operator]
    again, other = rejected(topic, rejected_at=a_day_later), rejected(topic, reason="quantity_missing")
    for batch in ([first], [again, other], [first], [rejected(topic, raw_offset=7)]):
        reject(engine, warehouse, batch)
    view = f"{warehouse.clickhouse_database}.dlq_trades"
    counted = f"SELECT reason, count() FROM {view} WHERE raw_topic = '{topic}' GROUP BY reason ORDER BY reason"
    assert engine.execute(counted) == [
        ["price_not_positive", 2],
        ["quantity_missing", 1],
    ]
    micros = ", ".join(
        f"toUnixTimestamp64Micro({name}) AS {name}" for name in ("received_at", "ingested_at", "rejected_at")
    )
    (row,) = engine.frame(
        f"SELECT * REPLACE (toUnixTimestamp64Milli(published_at) AS published_at, {micros}) FROM {view}"
        f" WHERE raw_topic = '{topic}' AND raw_offset = {DEAD['raw_offset']} AND reason = 'price_not_positive'"
    ).to_dicts()
    read = {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
    assert {name: read[name] for name in DEAD} == json.loads(again)


def test_a_redelivery_on_another_day_merges_in_storage(engine: Engine, warehouse: Settings) -> None:
    for day in range(3):
        moment = DEAD["rejected_at"] + day * 86_400_000_000  # type: ignore[operator]
        reject(engine, warehouse, [rejected("redelivered", rejected_at=moment)])
    log = f"{warehouse.clickhouse_database}.dlq_trades_log"
    engine.execute(f"OPTIMIZE TABLE {log} FINAL")
    assert engine.execute(f"SELECT count() FROM {log} WHERE raw_topic = 'redelivered'") == [[1]]


def test_what_is_no_dlq_record_is_kept_and_stops_nothing(engine: Engine, warehouse: Settings) -> None:
    """Its payload is text like any other: of one that is not, no reader of Arrow or Parquet could load the view."""
    records = [b"", b"\xff", b"\xff", b"[]", "ü".encode(), b'{"reason":"x","payload":"\xff"}', b"\0\xc3("]
    records += [b'{"published_at": 1e99, "raw_offset": -1}', rejected("kept")]
    reject(engine, warehouse, records)
    kept = engine.frame(
        "SELECT payload, toString(payload_encoding) AS encoding, payload_bytes"
        f" FROM {warehouse.clickhouse_database}.dlq_trades WHERE raw_topic IN ('', 'kept') ORDER BY dlq_offset"
    )
    texts = [(payload.decode(), encoding) for payload, encoding, _ in kept.iter_rows()]
    found = [base64.b64decode(text) if encoding else text.encode() for text, encoding in texts]
    assert found == [*records[:-1], b'{"a": "\\\\"}']
    assert kept["payload_bytes"].to_list()[:-1] == [len(record) for record in records[:-1]]
