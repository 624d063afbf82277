"""Sends packets to one client, at the client's protocol revision, and compressed if the client asks for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from deploy.embedded.clickhouse.engine.chdb_connection import Progress
from deploy.embedded.clickhouse.native_format import packets
from deploy.embedded.clickhouse.native_format.compression import encode_frames
from deploy.embedded.clickhouse.native_format.packets import ServerPacket
from deploy.embedded.clickhouse.native_format.results import header_block

# As often as a ClickHouse server does (interactive_delay).
_PROGRESS_INTERVAL_S = 0.1


class Outgoing:
    """Sends packets. Only the connection's own thread may call it, except for `progress`.

    Attributes:
        revision: the client's protocol revision, or ours if that is older.
        is_compressed: blocks go out in compressed frames.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._owner = threading.get_ident()
        self._told = self._known = Progress()
        self._began_at = self._told_at = 0.0
        self.revision = packets.REVISION
        self.is_compressed = False

    def send(self, packet: bytes) -> None:
        """Send a packet that is complete."""
        self._socket.sendall(packet)

    def block(self, block: bytes, kind: ServerPacket = ServerPacket.DATA) -> None:
        """Send a block."""
        whole = packets.BLOCK_INFO + block
        parts = encode_frames(whole) if self.is_compressed else iter([whole])
        self.send(b"".join([packets.varint(kind), packets.string(""), *parts]))

    def header(self, columns: Sequence[tuple[str, str]]) -> None:
        """Send a block of no rows with these columns (name, type)."""
        self.block(header_block(columns, has_flags=self.revision >= packets.CUSTOM_SERIALIZATION))

    def block_was_taken(self) -> None:
        """Tell a client that waits for it that one of its blocks has arrived."""
        if self.revision >= packets.PROFILE_EVENTS_IN_INSERT:
            self.send(packets.NO_PROFILE_EVENTS)

    def time_zone(self, name: str) -> None:
        """Tell the client the session's time zone. "" stands for the server's, which the client knows."""
        if name and self.revision >= packets.TIME_ZONE_UPDATES:
            self.send(packets.time_zone_update(name))

    def begin(self) -> None:
        """Start the progress of a new query at 0."""
        self._told = self._known = Progress()
        self._began_at = self._told_at = time.monotonic()

    def tell_duration(self) -> None:
        """Send the last progress of a query that has ended, then how long it took."""
        self.tell_progress()
        self._known = replace(self._known, elapsed_ns=int((time.monotonic() - self._began_at) * 1e9))
        self.tell_progress()

    def progress(self, known: Progress) -> None:
        """Note the progress of the query, and send it at intervals. The engine calls this, from any thread."""
        self._known = known
        if threading.get_ident() == self._owner and time.monotonic() - self._told_at >= _PROGRESS_INTERVAL_S:
            with suppress(OSError):  # the client has left, which its connection's next read shows
                self.tell_progress()

    def tell_progress(self) -> None:
        """Send the progress made after that which was sent last."""
        increment = self._known.since(self._told)
        if increment != Progress():
            self.send(packets.progress(increment, self.revision))
        self._told, self._told_at = self._known, time.monotonic()
