"""A raw client that sends what it likes, and what its attack cost the node."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clickhouse_cityhash.cityhash import CityHash128

from deploy.embedded.clickhouse.native_format.packets import ADDENDUM, BLOCK_INFO, string, varint
from tests.node.conftest import PASSWORD, NodeProcess

ZSTD, LZ4 = 0x90, 0x82
OLDEST, NEWEST = 54453, 54464


@dataclass
class Cost:
    """Seconds until the attack was over, MiB the node grew by at its peak, and what others waited at most, seconds."""

    seconds: float = 0.0
    grown_mib: float = 0.0
    longest_wait: float = 0.0
    served: int = 0


@contextmanager
def cost(node: NodeProcess) -> Iterator[Cost]:
    """Measure an attack while another client, already logged in, asks SELECT 1 over and over.

    A client that gets no answer for half a minute fails the test.
    """
    process = Path(f"/proc/{node.process.pid}")
    found, over = Cost(), threading.Event()
    other = node.native(send_receive_timeout=30)
    other.execute("SELECT 1")
    (process / "clear_refs").write_text("5")  # the peak starts again at what is used now
    before = _peak_mib(process)

    def ask() -> None:
        while True:
            started = time.monotonic()
            answer = other.execute("SELECT 1")
            assert answer == [(1,)], answer
            found.longest_wait = max(found.longest_wait, time.monotonic() - started)
            found.served += 1
            if over.wait(0.01):
                return

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        started = time.monotonic()
        try:
            yield found
        finally:
            found.seconds = time.monotonic() - started
            over.set()
            asking.result()
            found.grown_mib = _peak_mib(process) - before
            other.disconnect()


def _peak_mib(process: Path) -> float:
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def hello(user: str = "default", password: str = PASSWORD, *, revision: int = OLDEST) -> bytes:
    """The Hello of a client, with its addendum (a quota key) where the revision has one."""
    names = string("") + string(user) + string(password) + (string("") if revision >= ADDENDUM else b"")
    return varint(0) + string("raw") + varint(1) + varint(0) + varint(revision) + names


def query(sql: str, *, compressed: bool = False, parameters: Mapping[str, str] | None = None) -> bytes:
    """A Query packet without client info or settings, and the empty block after it.

    `parameters` for a client whose revision has them, even if there are none.
    """
    head = (
        varint(1) + string("") + b"\x00" + string("") + string("") + varint(2) + varint(int(compressed)) + string(sql)
    )
    if parameters is not None:
        head += b"".join(string(name) + varint(2) + string(value) for name, value in parameters.items()) + string("")
    empty = BLOCK_INFO + varint(0) + varint(0)
    return head + data(frame(empty, len(empty), 0x02) if compressed else empty)


def data(block: bytes) -> bytes:
    """A Data packet."""
    return varint(2) + string("") + block


def frame(packed: bytes, claimed: int, method: int) -> bytes:
    """A compressed frame that claims to hold `claimed` bytes."""
    body = struct.pack("<BII", method, 9 + len(packed), claimed) + packed
    value = CityHash128(body)
    return struct.pack("<QQ", value >> 64, value & (1 << 64) - 1) + body


def column(type_name: str, rows: int, values: bytes = b"", columns: int = 1) -> bytes:
    """A block with one column `a`, as it stands on the wire."""
    return BLOCK_INFO + varint(columns) + varint(rows) + string("a") + string(type_name) + values


def talk(port: int, *pieces: bytes, seconds: float = 20) -> bytes:
    """Send everything, and read until the other side ends or a second passes without a byte."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), seconds) as connection, suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
        connection.settimeout(1)
        while part := connection.recv(1 << 16):
            received += part
    return bytes(received)


def is_hung_up(port: int, *pieces: bytes) -> bool:
    """Send everything, and read. Whether the other side closes the connection; else it says nothing for 20 s."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            while connection.recv(1 << 16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
    return True
