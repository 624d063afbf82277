"""Cuts an Avro container that the engine wrote into messages of a few rows, each a container of its own.

Wire format: https://avro.apache.org/docs/1.11.1/specification/ (object container files, binary encoding).
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_FIXED_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_DEFLATE_LEVEL = 1  # the same size as the engine's; the default level saves a tenth more and takes 2.5 times as long

Skip = Callable[[bytes, int], int]


class AvroError(Exception):
    """The bytes are not an Avro container as the engine writes it."""


@dataclass(frozen=True)
class Part:
    """Some of the rows, as a container of their own.

    Attributes:
        data: the container.
        last: the wanted fields of its last row, encoded, by name.
    """

    data: bytes
    last: Mapping[str, bytes]


class Container:
    """An Avro container without compression."""

    def __init__(self, data: bytes) -> None:
        """Find the blocks.

        Args:
            data: the container, as the engine writes it with the codec `null`.

        Raises:
            AvroError: it is no container, or is compressed.
        """
        metadata, at = _header(data)
        if metadata.get("avro.codec", b"null") != b"null":
            raise AvroError("the container is compressed, although the engine was asked for blocks without compression")
        self._schema = metadata["avro.schema"]
        fields = orjson.loads(self._schema)["fields"]
        self._fields = [(str(field["name"]), _skip(field["type"])) for field in fields]
        self._sync = data[at : at + _SYNC_BYTES]
        self._first_rows: list[int] = []
        self._positions: list[int] = []
        blocks: list[bytes] = []
        self.rows = size = 0
        at += _SYNC_BYTES
        while at < len(data):
            count, at = long(data, at)
            length, at = long(data, at)
            self._first_rows.append(self.rows)
            self._positions.append(size)
            blocks.append(data[at : at + length])
            self.rows += count
            size += length
            at += length + _SYNC_BYTES
        if at != len(data):
            raise AvroError("the container ends in the middle of a block")
        self._data = b"".join(blocks)

    def parts(self, rows: int, max_bytes: int, codec: str, wanted: frozenset[str]) -> Iterator[Part]:
        """Cut the container into parts.

        Args:
            rows: most rows of a part.
            max_bytes: most bytes of a part. A larger part is halved, down to single rows.
            codec: compression of the parts: `null`, `deflate`, `snappy` or `zstd`.
            wanted: names of the fields to return from each part's last row.

        Raises:
            AvroError: the codec is unknown.
        """
        for start in range(0, self.rows, rows):
            yield from self._cut(start, min(start + rows, self.rows), max_bytes, codec, wanted)

    def _cut(self, start: int, end: int, max_bytes: int, codec: str, wanted: frozenset[str]) -> Iterator[Part]:
        last = self._position(end - 1)
        values, after = self._row(last, wanted)
        data = self._container(end - start, self._data[self._position(start) : after], codec)
        if len(data) <= max_bytes or end - start == 1:
            yield Part(data, values)
            return
        middle = (start + end) // 2
        yield from self._cut(start, middle, max_bytes, codec, wanted)
        yield from self._cut(middle, end, max_bytes, codec, wanted)

    def _position(self, row: int) -> int:
        """Where a row begins. Its block is looked up; the rows before it in the block are skipped one by one."""
        block = bisect_right(self._first_rows, row) - 1
        at = self._positions[block]
        for _ in range(row - self._first_rows[block]):
            for _, skip in self._fields:
                at = skip(self._data, at)
        return at

    def _row(self, at: int, wanted: frozenset[str]) -> tuple[dict[str, bytes], int]:
        """The wanted fields of the row that begins at `at`, and the end of the row."""
        values: dict[str, bytes] = {}
        for name, skip in self._fields:
            after = skip(self._data, at)
            if name in wanted:
                values[name] = self._data[at:after]
            at = after
        return values, at

    def _container(self, rows: int, data: bytes, codec: str) -> bytes:
        block = _compressed(data, codec)
        name = codec.encode()
        return b"".join(
            (
                _MAGIC,
                encoded_long(2),
                *(_encoded_bytes(one) for one in (b"avro.codec", name, b"avro.schema", self._schema)),
                encoded_long(0),
                self._sync,
                encoded_long(rows),
                encoded_long(len(block)),
                block,
                self._sync,
            )
        )


def long(data: bytes, at: int) -> tuple[int, int]:
    """Decode an int or long. Returns it and its end."""
    byte = data[at]
    at += 1
    value = byte & 0x7F
    shift = 7
    while byte > 0x7F:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), at


def encoded_long(value: int) -> bytes:
    """Encode an int or long."""
    rest = value << 1 if value >= 0 else (~value << 1) | 1
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def text(data: bytes) -> bytes:
    """Decode one string or bytes value."""
    length, at = long(data, 0)
    return data[at : at + length]


def _encoded_bytes(value: bytes) -> bytes:
    return encoded_long(len(value)) + value


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    """The metadata, and the position of the sync marker."""
    if data[: len(_MAGIC)] != _MAGIC:
        raise AvroError("no Avro container")
    metadata: dict[str, bytes] = {}
    count, at = long(data, len(_MAGIC))
    while count:
        for _ in range(count):
            length, at = long(data, at)
            name = data[at : at + length].decode()
            length, at = long(data, at + length)
            metadata[name] = data[at : at + length]
            at += length
        count, at = long(data, at)
    return metadata, at


def _compressed(data: bytes, codec: str) -> bytes:
    if codec == "null":
        return data
    if codec == "deflate":
        packer = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()
    if codec == "snappy":
        return bytes(pa.Codec("snappy").compress(data, asbytes=True)) + struct.pack(">I", zlib.crc32(data))
    if codec == "zstd":
        return bytes(pa.Codec("zstd").compress(data, asbytes=True))
    raise AvroError(f"unknown codec {codec!r}: use null, deflate, snappy or zstd")


def _skip_long(data: bytes, at: int) -> int:
    while data[at] > 0x7F:
        at += 1
    return at + 1


def _skip_bytes(data: bytes, at: int) -> int:
    length = data[at]
    if length > 0x7F:
        length, at = long(data, at)
        return at + length
    return at + 1 + (length >> 1)


_VARIABLE: dict[str, Skip] = {
    "int": _skip_long,
    "long": _skip_long,
    "enum": _skip_long,
    "string": _skip_bytes,
    "bytes": _skip_bytes,
}


def _skip(kind: Any) -> Skip:
    """A function that finds the end of a value of this schema type.

    Raises:
        AvroError: the type is unknown; the engine writes no such type.
    """
    name = kind["type"] if isinstance(kind, dict) else kind
    if isinstance(kind, list):
        branches = [_skip(one) for one in kind]
        return lambda data, at: _skip_union(data, at, branches)
    if isinstance(name, dict | list):
        return _skip(name)
    if name in _VARIABLE:
        return _VARIABLE[name]
    if name in _FIXED_SIZES or name == "fixed":
        size = kind["size"] if name == "fixed" else _FIXED_SIZES[name]
        return lambda _data, at: at + size
    if name == "record":
        fields = [_skip(field["type"]) for field in kind["fields"]]
        return lambda data, at: _skip_fields(data, at, fields)
    if name in {"array", "map"}:
        item = [_skip(kind["items"])] if name == "array" else [_skip_bytes, _skip(kind["values"])]
        return lambda data, at: _skip_items(data, at, item)
    raise AvroError(f"unknown type {name!r}")


def _skip_union(data: bytes, at: int, branches: list[Skip]) -> int:
    branch, at = long(data, at)
    return branches[branch](data, at)


def _skip_fields(data: bytes, at: int, fields: list[Skip]) -> int:
    for skip in fields:
        at = skip(data, at)
    return at


def _skip_items(data: bytes, at: int, item: list[Skip]) -> int:
    count, at = long(data, at)
    while count:
        if count < 0:  # the number of bytes follows
            count = -count
            _, at = long(data, at)
        for _ in range(count):
            at = _skip_fields(data, at, item)
        count, at = long(data, at)
    return at
