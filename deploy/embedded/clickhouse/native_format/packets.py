"""The packets of the native protocol up to revision 54464: reading the client's, writing the server's.

Source: ClickHouse's `src/Core/Protocol.h`, `ProtocolDefines.h` and `TCPHandler.cpp`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from deploy.embedded.clickhouse.engine.chdb_connection import Progress
from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, UNEXPECTED_PACKET, EngineError, refusal
from deploy.embedded.clickhouse.native_format.source import HELLO_BYTES, TEXT_BYTES, ByteSource
from deploy.embedded.clickhouse.sql.tokens import unquote

# The last revision before sparse columns (54465), which only the engine can parse.
REVISION = 54464
OLDEST_REVISION = 54453
# The first revision with each of these:
TIME_ZONES = 54337  # the time zone in the type of a DateTime column
CUSTOM_SERIALIZATION = 54454  # a byte that says how a column is serialised
PROFILE_EVENTS_IN_INSERT = 54456  # a packet after each block of an INSERT
ADDENDUM = 54458  # an addendum to the client's Hello
PARAMETERS = 54459  # parameters of a query
ELAPSED_IN_PROGRESS = 54460  # how long the query has run, in the progress
PASSWORD_RULES = 54461  # rules for passwords, in the server's Hello
NONCE = 54462  # a nonce, in the server's Hello
TOTAL_BYTES_IN_PROGRESS = 54463  # the bytes to read, in the progress
TIME_ZONE_UPDATES = 54464  # a packet that names the session's time zone
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
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    PROFILE_INFO = 6
    TOTALS = 7
    EXTREMES = 8
    PROFILE_EVENTS = 14
    TIME_ZONE_UPDATE = 17


@dataclass(frozen=True)
class Hello:
    """A client's first packet."""

    revision: int
    database: str
    user: str
    password: str


@dataclass(frozen=True)
class Query:
    """A query.

    Attributes:
        settings: name → (value, is important). An important setting that is unknown must be refused.
        params: the values of `{name:Type}`, each in ClickHouse's escaped text form.
    """

    query_id: str
    settings: dict[str, tuple[str, bool]]
    compressed: bool
    sql: str
    params: Mapping[str, str]


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


def read_query(source: ByteSource, revision: int) -> Query:
    """Read the body of a Query packet of a protocol revision."""
    query_id = source.string(_NAME_BYTES)
    _read_client_info(source)
    settings = _read_settings(source)
    source.string()  # interserver secret
    source.varint()  # stage
    compressed = bool(source.varint())
    sql = source.string()
    params = _read_settings(source, TEXT_BYTES) if revision >= PARAMETERS else {}
    return Query(query_id, settings, compressed, sql, {name: _param(value) for name, (value, _) in params.items()})


def _read_settings(source: ByteSource, most: int = _NAME_BYTES) -> dict[str, tuple[str, bool]]:
    """Settings or parameters. Each value has at most `most` bytes, and all together as many as a statement may have."""
    settings: dict[str, tuple[str, bool]] = {}
    end = source.position + TEXT_BYTES
    while name := source.string(_NAME_BYTES):
        if len(settings) >= _MAX_SETTINGS:
            raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", f"More than {_MAX_SETTINGS} settings with one query")
        flags = source.varint()
        settings[name] = (source.string(min(most, max(end - source.position, 0))), bool(flags & IMPORTANT))
    return settings


def _param(value: str) -> str:
    """The text of a parameter, which clients send as a quoted string."""
    return unquote(value) if len(value) > 1 and value[0] == value[-1] == "'" else value


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


def hello(version: str, revision: int) -> bytes:
    """The server's Hello for a client's revision. `version` is the engine's, `26.9.2.1`."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    numbers = varint(major) + varint(minor) + varint(REVISION)
    rules = varint(0) if revision >= PASSWORD_RULES else b""
    nonce = bytes(8) if revision >= NONCE else b""  # used between servers only
    names = string("UTC") + string("medallion")
    return varint(ServerPacket.HELLO) + string(SERVER_NAME) + numbers + names + varint(patch) + rules + nonce


def progress(increment: Progress, revision: int) -> bytes:
    """A Progress packet: the progress made after that of the packet before."""
    total_bytes = varint(increment.total_bytes) if revision >= TOTAL_BYTES_IN_PROGRESS else b""
    elapsed = varint(increment.elapsed_ns) if revision >= ELAPSED_IN_PROGRESS else b""
    read = varint(increment.rows) + varint(increment.bytes) + varint(increment.total_rows) + total_bytes
    written = varint(increment.written_rows) + varint(increment.written_bytes)
    return varint(ServerPacket.PROGRESS) + read + written + elapsed


def profile_info(rows: int, blocks: int, size: int) -> bytes:
    """A ProfileInfo packet: rows, blocks and bytes of the result."""
    unknown = b"\x00" + varint(0) + b"\x00"  # how many rows there were before LIMIT
    return varint(ServerPacket.PROFILE_INFO) + varint(rows) + varint(blocks) + varint(size) + unknown


def time_zone_update(name: str) -> bytes:
    """A packet that names the session's time zone."""
    return varint(ServerPacket.TIME_ZONE_UPDATE) + string(name)


def exception(error: EngineError) -> bytes:
    """An Exception packet."""
    head = varint(ServerPacket.EXCEPTION) + struct.pack("<i", error.code)
    return head + string("DB::Exception") + string(error.message) + string("") + b"\x00"


PONG = varint(ServerPacket.PONG)
END_OF_STREAM = varint(ServerPacket.END_OF_STREAM)
# A ProfileEvents packet without events: a block without columns, which is never compressed.
NO_PROFILE_EVENTS = varint(ServerPacket.PROFILE_EVENTS) + string("") + BLOCK_INFO + varint(0) + varint(0)
