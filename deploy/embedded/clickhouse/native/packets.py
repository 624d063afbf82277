"""The packets of the native protocol at revision 54453: reading the client's, writing the server's.

Source: ClickHouse's `src/Core/Protocol.h`, `ProtocolDefines.h` and `TCPHandler.cpp`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, UNEXPECTED_PACKET, EngineError, refusal
from deploy.embedded.clickhouse.native.source import HELLO_BYTES, ByteSource

# The last revision without per-column serialisation bytes, so blocks pass through as the engine formats them.
REVISION = 54453
SERVER_NAME = "ClickHouse"
# Block info: field 1 (is_overflows, 0), field 2 (bucket_num, -1), end.
BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
IMPORTANT = 1
_NAME_BYTES = 1 << 16
_MAX_SETTINGS = 2_000
_MAX_INFO_FIELDS = 8


class ClientPacket(IntEnum):
    """Packets that a client sends."""

    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4


class ServerPacket(IntEnum):
    """Packets that the server sends."""

    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PONG = 4
    END_OF_STREAM = 5


@dataclass(frozen=True)
class Hello:
    """A client's first packet."""

    revision: int
    database: str
    user: str
    password: str


@dataclass(frozen=True)
class Query:
    """A query. `settings` maps a name to its value and whether it is important: an unknown one is then refused."""

    query_id: str
    settings: dict[str, tuple[str, bool]]
    compressed: bool
    sql: str


def read_hello(source: ByteSource) -> Hello:
    """Read the body of a Hello packet.

    Raises:
        EngineError: 12 for a text too long for a name.
    """
    source.string(HELLO_BYTES)  # client name
    source.varint()  # major
    source.varint()  # minor
    revision = source.varint()
    return Hello(revision, source.string(HELLO_BYTES), source.string(HELLO_BYTES), source.string(HELLO_BYTES))


def read_query(source: ByteSource) -> Query:
    """Read the body of a Query packet."""
    query_id = source.string(_NAME_BYTES)
    _read_client_info(source)
    settings: dict[str, tuple[str, bool]] = {}
    while name := source.string(_NAME_BYTES):
        if len(settings) >= _MAX_SETTINGS:
            raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", f"More than {_MAX_SETTINGS} settings with one query")
        flags = source.varint()
        settings[name] = (source.string(_NAME_BYTES), bool(flags & IMPORTANT))
    source.string()  # interserver secret
    source.varint()  # stage
    compressed = bool(source.varint())
    return Query(query_id, settings, compressed, source.string())


def _read_client_info(source: ByteSource) -> None:
    if source.integer(1) == 0:
        return
    for _ in range(3):  # initial user, query id, address
        source.string(_NAME_BYTES)
    source.skip(8)  # start of the initial query
    if (interface := source.integer(1)) != 1:
        raise refusal(UNEXPECTED_PACKET, "UNEXPECTED_PACKET_FROM_CLIENT", f"Unexpected client interface {interface}")
    for _ in range(3):  # OS user, host, client name
        source.string(_NAME_BYTES)
    for _ in range(3):  # version, revision
        source.varint()
    source.string(_NAME_BYTES)  # quota key
    source.varint()  # distributed depth
    source.varint()  # patch
    if source.integer(1):  # OpenTelemetry: trace, span, state, flags
        source.skip(24)
        source.string(_NAME_BYTES)
        source.skip(1)
    for _ in range(3):  # parallel replicas
        source.varint()


def read_block_info(source: ByteSource) -> None:
    """Read the fields of a block info, up to its end."""
    for _ in range(_MAX_INFO_FIELDS):
        field = source.varint()
        if field == 0:
            return
        source.skip(1 if field == 1 else 4)
    raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", "A block's info does not end")


def varint(value: int) -> bytes:
    """An unsigned LEB128 number."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def string(text: str) -> bytes:
    """A length-prefixed text."""
    encoded = text.encode("utf-8", "surrogateescape")
    return varint(len(encoded)) + encoded


def hello(version: str) -> bytes:
    """The server's Hello; `version` is the engine's, `26.9.2.1`."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    numbers = varint(major) + varint(minor) + varint(REVISION)
    return (
        varint(ServerPacket.HELLO) + string(SERVER_NAME) + numbers + string("UTC") + string("medallion") + varint(patch)
    )


def exception(error: EngineError) -> bytes:
    """An Exception packet."""
    head = varint(ServerPacket.EXCEPTION) + struct.pack("<i", error.code)
    return head + string("DB::Exception") + string(error.message) + string("") + b"\x00"


def header_block(columns: Iterable[tuple[str, str]]) -> bytes:
    """A block of no rows with these (name, type) columns."""
    listed = list(columns)
    return varint(len(listed)) + varint(0) + b"".join(string(name) + string(kind) for name, kind in listed)


PONG = varint(ServerPacket.PONG)
END_OF_STREAM = varint(ServerPacket.END_OF_STREAM)
DATA_HEAD = varint(ServerPacket.DATA) + string("")
