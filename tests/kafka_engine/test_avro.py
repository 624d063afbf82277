"""Cut at any row, the parts hold the container's rows, once and in order, and say what their last row is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.embedded.clickhouse.kafka.avro import AvroError, Container, encoded_long, long, text

CODECS = ("null", "deflate", "zstd", "snappy")
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "maybe", "type": ["null", "string"]},
        {"name": "f", "type": "double"},
        {"name": "b", "type": "boolean"},
        {"name": "list", "type": {"type": "array", "items": "string"}},
        {"name": "digits", "type": {"type": "fixed", "name": "digits", "size": 3}},
        {"name": "side", "type": {"type": "enum", "name": "side", "symbols": ["BUY", "SELL"]}},
        {"name": "inner", "type": {"type": "record", "name": "inner", "fields": [{"name": "x", "type": "int"}]}},
        {"name": "by_name", "type": {"type": "map", "values": "long"}},
        {"name": "_key", "type": "bytes"},
    ],
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.integers(-(2**63), 2**63 - 1),
            "maybe": st.none() | st.text(max_size=200),
            "f": st.floats(allow_nan=False),
            "b": st.booleans(),
            "list": st.lists(st.text(max_size=3), max_size=3),
            "digits": st.binary(min_size=3, max_size=3),
            "side": st.sampled_from(["BUY", "SELL"]),
            "inner": st.fixed_dictionaries({"x": st.integers(-(2**31), 2**31 - 1)}),
            "by_name": st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=2),
            "_key": st.binary(max_size=300),
        }
    ),
    max_size=40,
)


def written(rows: list[dict[str, Any]], block_bytes: int) -> bytes:
    target = io.BytesIO()
    fastavro.writer(target, SCHEMA, rows, codec="null", sync_interval=block_bytes)
    return target.getvalue()


@settings(max_examples=60)
@given(ROWS, st.integers(1, 2000), st.integers(1, 45), st.sampled_from(CODECS[:2]), st.sampled_from((1, 400, 10**6)))
def test_parts_hold_the_rows_once_and_in_order(
    rows: list[dict[str, Any]], block_bytes: int, most: int, codec: str, max_bytes: int
) -> None:
    container = Container(written(rows, block_bytes))
    assert container.rows == len(rows)
    found: list[Any] = []
    for part in container.parts(most, max_bytes, codec, frozenset({"_key", "n"})):
        reader = fastavro.reader(io.BytesIO(part.data))
        assert reader.codec == codec
        some = list(reader)
        assert 1 <= len(some) <= most
        assert len(part.data) <= max_bytes or len(some) == 1
        assert (text(part.last["_key"]), long(part.last["n"], 0)[0]) == (some[-1]["_key"], some[-1]["n"])
        found += some
    assert found == rows


@pytest.mark.parametrize("codec", CODECS)
def test_polars_reads_every_codec_that_it_has(codec: str) -> None:
    target = io.BytesIO()
    pl.DataFrame({"n": range(1000), "s": [f"row {n}" for n in range(1000)]}).write_avro(target, "uncompressed")
    parts = list(Container(target.getvalue()).parts(300, 10**6, codec, frozenset()))
    assert len(parts) == 4
    if codec != "zstd":
        assert pl.concat(pl.read_avro(io.BytesIO(part.data)) for part in parts)["n"].to_list() == list(range(1000))


def test_without_rows_there_is_no_part() -> None:
    assert list(Container(written([], 1)).parts(1, 1, "deflate", frozenset())) == []


def _broken() -> Iterator[bytes]:
    whole = written(
        [
            {
                "n": 1,
                "maybe": None,
                "f": 0.0,
                "b": True,
                "list": [],
                "digits": b"abc",
                "side": "BUY",
                "inner": {"x": 1},
                "by_name": {},
                "_key": b"",
            }
        ],
        100,
    )
    yield whole[:-1]
    yield b"no " + whole
    target = io.BytesIO()
    fastavro.writer(target, SCHEMA, [], codec="deflate")
    yield target.getvalue()


@pytest.mark.parametrize("data", list(_broken()))
def test_what_is_no_container_of_the_engine_is_refused(data: bytes) -> None:
    with pytest.raises(AvroError):
        Container(data)


def test_an_unknown_codec_is_refused() -> None:
    target = io.BytesIO()
    pl.DataFrame({"n": [1]}).write_avro(target, "uncompressed")
    with pytest.raises(AvroError, match="deflate, snappy or zstd"):
        list(Container(target.getvalue()).parts(1, 1, "bzip2", frozenset()))


@given(st.integers(-(2**63), 2**63 - 1))
def test_longs_read_as_written(value: int) -> None:
    encoded = encoded_long(value)
    assert long(encoded + b"\xff", 0) == (value, len(encoded))
