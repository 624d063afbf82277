"""Bronze messages as the real engine writes them: every codec and text encoding gives the same columns."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import fastavro
import pytest

from schemas.records import BRONZE, BronzeTrade
from schemas.wire import avro_schema
from silver_processor.batching.decode import BronzeUnreadableError, decode

QUERY = """
SELECT 'binance' AS exchange, 'BTCUSDT' AS symbol, toString(number) AS trade_id, '61837.63000000' AS price_text,
  '0.02' AS quantity_text, toDateTime64('2024-08-08 23:54:15.342123', 6, 'UTC') + number AS timestamp,
  '1723161255342' AS timestamp_raw, if(number = 3, {strange}, 'SELL') AS side, '' AS sequence, '' AS defect,
  toLowCardinality('market.crypto.trades.binance.raw') AS raw_topic, toUInt32(number) AS raw_partition,
  toUInt64(number + 1099511627776) AS raw_offset, toDateTime64('2024-08-08 23:54:15.342', 3, 'UTC') AS published_at,
  toDateTime64('2024-08-08 23:54:15.343001', 6, 'UTC') AS received_at,
  toDateTime64('2024-08-08 23:54:15.400002', 6, 'UTC') AS ingested_at
FROM numbers({rows})
SETTINGS output_format_avro_codec = '{codec}', output_format_avro_string_column_pattern = '{pattern}'
"""
# One engine a process: the messages come from a process of their own.
WRITER = """
import json, sys, chdb
queries = json.load(sys.stdin)
connection = chdb.connect(":memory:")
for name, query in queries.items():
    open(name, "wb").write(connection.query(query, "Avro").bytes())
"""
# Messages from before version 0.2 have neither a kind nor a number of matches.
LATER = QUERY.replace("'' AS defect", "'block' AS kind, '3' AS matches, '' AS defect")
VARIANTS = {
    f"{codec}-{kind}": QUERY.format(strange="'SELL'", rows=100, codec=codec, pattern=pattern)
    for codec in ("null", "deflate", "snappy")
    for kind, pattern in (("strings", ".*"), ("bytes", ""))
}
STRANGE = {
    f"strange-{codec}": QUERY.format(strange="unhex('FF61')", rows=100, codec=codec, pattern=".*")
    for codec in ("null", "deflate", "snappy")
}
EXTRA = {
    "later": LATER.format(strange="'SELL'", rows=100, codec="deflate", pattern=".*"),
    "empty": QUERY.format(strange="'SELL'", rows=0, codec="null", pattern=".*"),
    "zstd": QUERY.format(strange="'SELL'", rows=10, codec="zstd", pattern=".*"),
    "other": "SELECT 1 AS a",
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avro")
    queries = json.dumps(VARIANTS | STRANGE | EXTRA)
    subprocess.run([sys.executable, "-c", WRITER], input=queries.encode(), cwd=folder, check=True)
    return folder


def test_a_message_from_before_a_field_has_its_default(messages: Path) -> None:
    earlier, later = (decode((messages / name).read_bytes()) for name in ("deflate-strings", "later"))
    assert set(zip(earlier["kind"].to_pylist(), earlier["matches"].to_pylist(), strict=True)) == {("", "")}
    assert set(zip(later["kind"].to_pylist(), later["matches"].to_pylist(), strict=True)) == {("block", "3")}
    assert earlier.drop(["kind", "matches"]).equals(later.drop(["kind", "matches"]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_engine_writes_reads_back_under_our_avro_schema(messages: Path, variant: str) -> None:
    """fastavro with our schema as reader schema, and our decoder, give the same records."""
    message = (messages / variant).read_bytes()
    table = decode(message)
    assert table.schema.equals(BRONZE)
    assert table.num_rows == 100
    decoded = [BronzeTrade.model_validate(row) for row in table.to_pylist()]
    assert decoded[7].raw_offset == 7 + 2**40
    assert decoded[7].timestamp == 1723161262342123
    assert decoded[7].published_at == 1723161255342
    if "snappy" not in variant and "bytes" not in variant:
        read = fastavro.reader(io.BytesIO(message), reader_schema=avro_schema(BronzeTrade))
        assert [BronzeTrade.model_validate(row) for row in read] == decoded


@pytest.mark.parametrize("variant", STRANGE)
def test_text_that_is_not_utf8_spoils_its_own_value_only(messages: Path, variant: str) -> None:
    table = decode((messages / variant).read_bytes())
    sides = table["side"].to_pylist()
    assert sides[3] == r"\xff61"
    assert set(sides[:3] + sides[4:]) == {"SELL"}
    assert table["trade_id"].to_pylist() == [str(number) for number in range(100)]


def test_an_empty_container_is_an_empty_table(messages: Path) -> None:
    assert decode((messages / "empty").read_bytes()).equals(BRONZE.empty_table())


@pytest.mark.parametrize("name", ["zstd", "other"])
def test_an_unknown_codec_or_record_is_named(messages: Path, name: str) -> None:
    with pytest.raises(BronzeUnreadableError, match=r"zstandard|exchange"):
        decode((messages / name).read_bytes())


@pytest.mark.parametrize("message", [b"", b"{}", b"Obj\x01", b"\x00" * 100, b"Obj\x01" + b"\xff" * 200])
def test_anything_else_is_unreadable_and_says_so(message: bytes) -> None:
    with pytest.raises(BronzeUnreadableError):
        decode(message)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cut_message_never_reads_as_fewer_rows(messages: Path, variant: str) -> None:
    whole = (messages / variant).read_bytes()
    for size in range(0, len(whole), 97):
        with pytest.raises(BronzeUnreadableError):
            decode(whole[:size])
