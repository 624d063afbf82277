"""Bytes that grow: what a client announces is bounded before anything is buffered, and others are served meanwhile."""

from __future__ import annotations

import functools
import gzip
import os
import random
import signal
import socket
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from backports import zstd
from lz4 import block as lz4_block
from lz4 import frame as lz4_frame

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.native_format.packets import string, varint
from deploy.embedded.clickhouse.native_format.skipper import skip_block
from deploy.embedded.clickhouse.native_format.source import ByteSource, EmptyFeed
from deploy.embedded.clickhouse.native_format.types import parse_type
from tests.node.conftest import PASSWORD, NodeProcess, eventually, start
from tests.node.hostile import LZ4, NEWEST, ZSTD, Cost, column, cost, data, frame, hello, is_hung_up, query, talk

MIB = 1 << 20
INSERT = "INSERT INTO hostile.t VALUES"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node with the tables `hostile.t` and `hostile.sink` that survives the whole module and stops in order."""
    node = start(tmp_path_factory.mktemp("attacked"))
    client = node.native()
    client.execute("CREATE DATABASE hostile")
    client.execute("CREATE TABLE hostile.t (a String) ENGINE = MergeTree ORDER BY a")
    client.execute("CREATE TABLE hostile.sink (a String) ENGINE = Null")
    client.disconnect()
    yield node
    assert node.native().execute("SELECT count() FROM hostile.t") == [(0,)]
    assert node.stop() == 0


def harmless(found: Cost, *, mib: float = 64) -> None:
    assert found.grown_mib < mib, found
    assert found.served > 0, found
    print(f"COST {os.environ.get('PYTEST_CURRENT_TEST', '').split('::')[-1]}: {found}")  # noqa: T201 - docs/threats.md


def test_a_negative_width_does_not_loop_and_sigterm_is_heard(own_node: NodeProcess) -> None:
    own_node.native().execute("CREATE DATABASE hostile")
    own_node.native().execute("CREATE TABLE hostile.t (a String) ENGINE = MergeTree ORDER BY a")
    with cost(own_node) as found:
        answer = talk(
            own_node.native_port, hello(), query(INSERT), data(column("FixedString(-19)", 1 << 20, b"x" * 100))
        )
    assert b"UNKNOWN_TYPE" in answer
    harmless(found)
    assert own_node.stop() == 0


@pytest.mark.parametrize(
    ("type_name", "rows", "values"),
    [
        ("FixedString(-19)", 1 << 40, b""),
        ("FixedString(99999999999)", 1, b""),
        ("FixedString(0)", 1 << 62, b""),
        ("FixedString(x)", 1, b""),
        ("FixedString", 1, b""),
        ("Decimal(400, 1)", 1, b""),
        ("Decimal(-1)", 1, b""),
        ("UInt64", 1 << 62, b""),
        ("Nullable(UInt8)", 1 << 62, b""),
        ("Array(UInt64)", 1 << 62, b""),
        ("Array(UInt64)", 1, b"\xff" * 8),
        ("LowCardinality(String)", 1, b"\x00" * 8 + b"\xff" * 64),
        ("Array(" * 20_000 + "UInt8" + ")" * 20_000, 1, b""),
        ("Tuple(" * 40_000, 1, b""),
        ("Tuple(" + "UInt8," * 40_000 + "UInt8)", 1, b""),
        ("Nullable()", 1, b""),
        ("Map(UInt8)", 1, b""),
        ("LowCardinality()", 1, b""),
        ("SimpleAggregateFunction(sum)", 1, b""),
        ("`" * 100_001, 1, b""),
        (")" * 1000, 1, b""),
        ("", 1, b""),
        ("String", 1, varint(1 << 40)),
        ("String", 1, b"\xff" * 30),
    ],
)
def test_absurd_types_and_counts_are_refused(type_name: str, rows: int, values: bytes) -> None:
    block = varint(1) + varint(rows) + string("a") + string(type_name) + values
    with pytest.raises(EngineError) as failure:
        skip_block(ByteSource(EmptyFeed(), block))
    assert failure.value.code in {12, 48, 50}


def test_a_block_of_countless_columns_is_refused() -> None:
    with pytest.raises(EngineError):
        skip_block(ByteSource(EmptyFeed(), varint(1 << 50) + varint(0) + b"\x00\x00" * 1000))


# Its siblings are the absurd types above: each ends.
@pytest.mark.nightly
def test_a_type_is_taken_apart_in_one_pass() -> None:
    deep = "Array(" * 30 + "Tuple(" + ", ".join(f"`n {n}` Decimal(38, {n % 38})" for n in range(8_000)) + ")" + ")" * 30
    started = time.process_time()
    assert parse_type(deep).name == "Array"
    assert time.process_time() - started < 3


def test_a_zstd_frame_makes_no_more_than_it_announces(attacked: NodeProcess) -> None:
    bomb = zstd.compress(b"\0" * (1 << 30))
    assert len(bomb) < 100_000
    with cost(attacked) as found:
        answer = talk(attacked.native_port, hello(), query(INSERT, compressed=True), data(frame(bomb, 100, ZSTD)))
    assert b"CANNOT_DECOMPRESS" in answer
    harmless(found)


@pytest.mark.parametrize("claimed", [1 << 30, (1 << 32) - 1, 1 << 24, 1 << 23])
def test_a_frame_that_announces_too_much_is_refused(attacked: NodeProcess, claimed: int) -> None:
    packed = lz4_block.compress(b"x" * 100, store_size=False)
    with cost(attacked) as found:
        answer = talk(attacked.native_port, hello(), query(INSERT, compressed=True), data(frame(packed, claimed, LZ4)))
    assert b"DECOMPRESS" in answer or b"COMPRESSION_METHOD" in answer
    harmless(found)


def test_broken_frames_are_refused(attacked: NodeProcess) -> None:
    for packed, claimed, method in ((b"junk" * 10, 100, ZSTD), (b"\xff" * 40, 100, LZ4), (b"", 0, 7), (b"ab", 5, 2)):
        answer = talk(
            attacked.native_port, hello(), query(INSERT, compressed=True), data(frame(packed, claimed, method))
        )
        assert b"DB::Exception" in answer
    broken = bytearray(frame(b"ab", 2, 2))
    broken[0] ^= 1
    answer = talk(attacked.native_port, hello(), query(INSERT, compressed=True), data(bytes(broken)))
    assert b"CHECKSUM_DOESNT_MATCH" in answer


@pytest.mark.parametrize("field", range(4))
def test_before_the_login_only_short_names_are_taken(attacked: NodeProcess, field: int) -> None:
    names = [string("raw"), string(""), string("default"), string(PASSWORD)]
    names[field] = varint(1 << 29)
    client, database, user, password = names
    start_of_hello = varint(0) + client + (varint(1) + varint(0) + varint(54453) + database if field else b"")
    rest = b"" if field < 2 else user + (b"" if field < 3 else password)
    with cost(attacked) as found:
        answer = talk(attacked.native_port, start_of_hello + rest, *([b"x" * MIB] * 100))
    assert b"DB::Exception" in answer or answer == b""
    harmless(found, mib=16)


def many_settings(count: int) -> bytes:
    """The beginning of a query."""
    return varint(1) + string("") + b"\x00" + b"".join(string(f"s{n}") + b"\x00" + string("1") for n in range(count))


@pytest.mark.parametrize(
    "payload",
    [
        lambda: varint(1) + varint(1 << 40),
        lambda: query("x")[:4] + varint(1 << 33),
        lambda: many_settings(50_000),
        lambda: b"\x80" * 1000,
        lambda: varint(2) + varint(1 << 30),
        # Parameters that are small one by one.
        lambda: query("SELECT 1", parameters={f"p{n}": "x" * MIB for n in range(60)}),
    ],
    ids=["a long text", "a long id", "many settings", "no number", "a long block", "many parameters"],
)
def test_after_the_login_texts_are_bounded_too(attacked: NodeProcess, payload: Callable[[], bytes]) -> None:
    sent = payload()
    with cost(attacked) as found:
        # The answer may be lost in the reset.
        assert is_hung_up(attacked.native_port, hello(revision=NEWEST), sent, *([b"x" * MIB] * 64))
    harmless(found, mib=48)


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": functools.partial(gzip.compress, compresslevel=1),
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4_frame.compress,
}
# gzip is deflate with a frame, and zstd cuts into blocks as lz4 does: one of each kind is in the fast tier.
ENCODED = [pytest.param(name, marks=[pytest.mark.nightly] if name in {"deflate", "lz4"} else []) for name in ENCODINGS]


@functools.cache
def spaces(encoding: str) -> bytes:
    """A statement that is longer than any may be, and than the memory that one may take, compressed."""
    return ENCODINGS[encoding](b"SELECT 1 " + b" " * (160 * MIB))


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_compressed_body_decodes_in_steps(attacked: NodeProcess, encoding: str) -> None:
    statement = spaces(encoding)
    with cost(attacked) as found:
        answer = attacked.curl(
            *("-H", f"Content-Encoding: {encoding}", "--data-binary", "@-", attacked.url), data=statement
        )
    assert b"BAD_SIZE_OF_DATA" in answer.stdout
    harmless(found)


@pytest.mark.parametrize("encoding", ENCODED)
def test_compressed_rows_stream_in_constant_memory(attacked: NodeProcess, encoding: str) -> None:
    body = ENCODINGS[encoding]((b"x" * 99 + b"\n") * (2 * MIB))
    url = f"{attacked.url}?query=INSERT%20INTO%20hostile.sink%20FORMAT%20TSV&max_insert_block_size=65536"
    url += "&min_insert_block_size_rows=65536&min_insert_block_size_bytes=0"
    with cost(attacked) as found:
        answer = attacked.curl(*("-H", f"Content-Encoding: {encoding}", "--data-binary", "@-", url), data=body)
    assert answer.stdout == b""
    harmless(found, mib=200)


def test_several_encoded_members_in_one_body_are_read_whole(attacked: NodeProcess) -> None:
    client = attacked.native()
    client.execute("CREATE TABLE hostile.members (a UInt32) ENGINE = MergeTree ORDER BY a")
    url = f"{attacked.url}?query=INSERT%20INTO%20hostile.members%20FORMAT%20TSV"
    for encoding, compress in ENCODINGS.items():
        parts = [b"".join(b"%d\n" % n for n in range(first, first + 100_000)) for first in (0, 100_000)]
        body = b"".join(compress(part) for part in parts) if encoding != "deflate" else compress(b"".join(parts))
        answer = attacked.curl(*("-H", f"Content-Encoding: {encoding}", "--data-binary", "@-", url), data=body)
        assert answer.stdout == b"", encoding
        rows = client.execute("SELECT count(), sum(a) FROM hostile.members")
        assert rows == [(200_000, sum(range(200_000)))], encoding
        client.execute("TRUNCATE TABLE hostile.members")
        cut = attacked.curl(*("-H", f"Content-Encoding: {encoding}", "--data-binary", "@-", url), data=b"junk" + body)
        assert b"CANNOT_DECOMPRESS" in cut.stdout, encoding
    client.execute("DROP TABLE hostile.members")


def test_a_form_of_empty_fields_is_given_up(attacked: NodeProcess) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s%d"\r\n\r\n\r\n'
    body = b"".join(part % (b"n" * 2_000, number) for number in range(40_000)) + b"--b--\r\n"
    with cost(attacked) as found:
        kind = "Content-Type: multipart/form-data; boundary=b"
        answer = attacked.curl("--header", kind, "--data-binary", "@-", attacked.url, data=body)
    assert b"Code: 12." in answer.stdout
    harmless(found, mib=32)


def test_a_stranger_s_body_is_not_read(attacked: NodeProcess) -> None:
    body = spaces("gzip")
    with cost(attacked) as found:
        answer = attacked.curl(
            *("-u", "default:wrong", "-H", "Content-Encoding: gzip", "--data-binary", "@-", attacked.url), data=body
        )
    assert b"Code: 516." in answer.stdout
    harmless(found)


@pytest.mark.parametrize(
    "text", ["'\\" * 60_000, "(VALUES VALUES " * 2_000, "INSERT INTO t (FORMAT x " * 5_000, "$1" * 60_000]
)
def test_a_statement_that_is_hard_to_read_stops_nobody(attacked: NodeProcess, text: str) -> None:
    """120 kB of `'\\` stopped the HTTP port for minutes."""
    with cost(attacked) as found:
        answer = attacked.curl("--data-binary", "@-", attacked.url, data=text.encode())
    # An answer that takes minutes does not come: curl gives up.
    assert b"DB::Exception" in answer.stdout
    harmless(found)


def test_half_open_connections_hold_nobody_up(attacked: NodeProcess) -> None:
    connections = []
    with cost(attacked) as found:
        for port in (attacked.native_port, attacked.http_port):
            connections += [socket.create_connection(("127.0.0.1", port), 10) for _ in range(500)]
        for number, connection in enumerate(connections):
            if number % 2:
                connection.sendall(b"\x00" if number < 500 else b"POST / HT")
        assert attacked.native().execute("SELECT 2") == [(2,)]
        assert attacked.curl("--data-binary", "SELECT 3", attacked.url).stdout == b"3\n"
    harmless(found)
    # Those of the native port said no Hello: each held a thread, and is let go.
    eventually(lambda: all(_has_ended(one) for one in connections[:500]), "half-open connections ended", 30)
    for connection in connections:
        connection.close()


def _has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600,
    b"\x00" * 100_000,
    b"\xff" * 100_000,
    hello()[:-3],
    hello() + b"\x09",
    hello() + query("SELECT 1") + b"\xff" * 100,
    hello() + query("SELECT '\udcff\udcfe'"),
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /?" + b"a&" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"A" * 1_000_000,
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000,
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_either_port_is_harmless(attacked: NodeProcess, garbage: bytes) -> None:
    with cost(attacked) as found:
        for port in (attacked.native_port, attacked.http_port):
            talk(port, garbage)
    harmless(found)


FUZZ_ROUNDS = 60
FUZZ_SECONDS = float(os.environ.get("MEDALLION_FUZZ_SECONDS", "0"))
FUZZ_SEED = int(os.environ.get("MEDALLION_FUZZ_SEED", "1"))


def _mutated(chosen: random.Random, valid: bytes) -> bytes:
    """Valid bytes with some of them changed, left out, doubled, or replaced by telling ones."""
    found = bytearray(valid)
    for _ in range(chosen.randint(1, 8)):
        at = chosen.randrange(len(found) + 1)
        kind = chosen.randrange(5)
        if kind == 0:
            found[at : at + 1] = bytes([chosen.randrange(256)])
        elif kind == 1:
            del found[at : at + chosen.randint(1, 20)]
        elif kind == 2:
            found[at:at] = found[at : at + chosen.randint(1, 200)] * chosen.randint(1, 50)
        elif kind == 3:
            found[at:at] = varint(1 << chosen.choice((7, 14, 31, 32, 40, 62, 63, 64, 70)))
        else:
            found[at:at] = chosen.randbytes(chosen.randint(1, 64))
    return bytes(found)


def test_mutated_conversations_neither_hang_nor_grow_the_node(attacked: NodeProcess) -> None:
    """FUZZ_ROUNDS, and more until MEDALLION_FUZZ_SECONDS are over.

    The seed is fixed unless MEDALLION_FUZZ_SEED names another.
    """
    chosen = random.Random(FUZZ_SEED)
    block = column("Array(Tuple(a String, b LowCardinality(Nullable(String))))", 2, b"\x01" + b"\x00" * 60)
    native = [
        hello() + query("SELECT number FROM numbers(3)"),
        hello() + query(INSERT) + data(column("String", 2, b"\x01x\x02yz"))[:-1],
        hello() + query(INSERT) + data(block),
        hello() + query(INSERT, compressed=True) + data(frame(zstd.compress(block), len(block), ZSTD)),
        hello(revision=NEWEST) + query("SELECT {a:String}, {b:UInt8}", parameters={"a": "'x'", "b": "1"}),
        hello(revision=NEWEST) + query(INSERT, parameters={}) + data(column("String\x00", 2, b"\x01x\x02yz")),
        hello(revision=NEWEST) + query("SELECT '{\"a\":[1,2]}'::JSON, [1::Dynamic] WITH TOTALS", parameters={}),
    ]
    framed = frame(zstd.compress(b"SELECT 1 FORMAT JSON"), 20, ZSTD)
    account = f"X-ClickHouse-User: default\r\nX-ClickHouse-Key: {PASSWORD}\r\n".encode()
    packed = gzip.compress(b"SELECT 1 FORMAT JSON")
    http = [
        b"POST /?query=SELECT%201 HTTP/1.1\r\nHost: localhost\r\n" + account + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n" + account + b"Content-Length: 8\r\n\r\nSELECT 1",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
        + account
        + b"Content-Length: %d\r\n\r\n" % len(packed)
        + packed,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        + account
        + b"\r\n8\r\nSELECT 1\r\n0\r\n\r\n",
        b"POST /?compress=1&client_protocol_version=54464 HTTP/1.1\r\nHost: localhost\r\n"
        + account
        + b"Content-Length: 8\r\n\r\nSELECT 1",
        b"POST /?decompress=1 HTTP/1.1\r\nHost: localhost\r\n"
        + account
        + b"Content-Length: %d\r\n\r\n" % len(framed)
        + framed,
    ]
    rounds = 0
    with cost(attacked) as found:
        deadline = time.monotonic() + FUZZ_SECONDS
        while rounds < FUZZ_ROUNDS or time.monotonic() < deadline:
            port, valid = chosen.choice([(attacked.native_port, native), (attacked.http_port, http)])
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.settimeout(0.05)
                try:
                    connection.sendall(_mutated(chosen, chosen.choice(valid)))
                    while connection.recv(1 << 16):
                        pass
                except OSError:
                    pass  # nothing to say, or an answer that was not waited for
            rounds += 1
    harmless(found, mib=200)
    assert attacked.process.poll() is None
    assert attacked.native().execute("SELECT 1") == [(1,)]


def test_sigterm_ends_a_node_with_clients_in_every_state(own_node: NodeProcess) -> None:
    connections = [socket.create_connection(("127.0.0.1", own_node.native_port), 10) for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.sendall((hello() + query("SELECT 1"))[: number * 5])
    assert own_node.stop(signal.SIGTERM) == 0
    for connection in connections:
        connection.close()
