"""One client's connection over the native protocol."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TypeVar

from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.errors import (
    BAD_SIZE_OF_DATA,
    QUERY_WAS_CANCELLED,
    UNEXPECTED_PACKET,
    EngineError,
    refusal,
)
from deploy.embedded.clickhouse.native.outgoing import Outgoing
from deploy.embedded.clickhouse.native.watcher import Watcher
from deploy.embedded.clickhouse.native_format import packets
from deploy.embedded.clickhouse.native_format.packets import ClientPacket, Query
from deploy.embedded.clickhouse.native_format.results import ResultBlocks, ResultSize
from deploy.embedded.clickhouse.native_format.skipper import Column, skip_block
from deploy.embedded.clickhouse.native_format.source import BLOCK_BYTES, HELLO_BYTES, ByteSource, FrameFeed, SocketFeed
from deploy.embedded.clickhouse.native_format.types import parse_type
from deploy.embedded.clickhouse.session import Request, Session
from deploy.embedded.clickhouse.sql.policy import Role
from deploy.embedded.clickhouse.sql.statements import Kind
from deploy.embedded.clickhouse.summaries import Part

T = TypeVar("T")

_PACKETS = {
    Part.ROWS: packets.ServerPacket.DATA,
    Part.TOTALS: packets.ServerPacket.TOTALS,
    Part.EXTREMES: packets.ServerPacket.EXTREMES,
}
# How long a client may take to send Hello. Until then it holds a thread and a socket.
LOGIN_S = 10.0
_MOST_EXTERNAL_BLOCKS = 1_000
_HTTP = frozenset(b"GPHOD")  # first letters of HTTP's methods
_WRONG_PORT = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
    b"This port speaks ClickHouse's native protocol. HTTP has a port of its own: `medallion status` prints it.\r\n"
)


class OutOfStepError(Exception):
    """The client's bytes cannot be parsed any further. `error` is for the client."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.text)
        self.error = error


class ClientConnection:
    """Serves a connected socket until the client leaves."""

    def __init__(
        self,
        connection: socket.socket,
        access: Access,
        version: str,
        setting_names: Callable[[], frozenset[str]],
        watcher: Watcher,
        peer: str = "",
    ) -> None:
        self._socket, self._peer = connection, peer
        self._access = access
        self._version = version
        self._setting_names = setting_names
        self._watcher = watcher
        self._source = ByteSource(SocketFeed(connection), limit=HELLO_BYTES)
        self._outgoing = Outgoing(connection)
        self._frames = self._source
        self._has_failed = False  # whether the INSERT whose blocks are being received has failed
        self.is_busy = False

    def greet(self, open_session: Callable[[str, Role], Session]) -> Session | None:
        """Exchange Hellos and open the client's session; None if the client was refused.

        Raises:
            ClientGoneError: the client left, or sent nothing for LOGIN_S.
        """
        self._socket.settimeout(LOGIN_S)
        try:
            packet = self._source.varint()
            if packet in _HTTP:
                self._outgoing.send(_WRONG_PORT)
                return None
            if packet != ClientPacket.HELLO:
                raise refusal(UNEXPECTED_PACKET, "UNEXPECTED_PACKET_FROM_CLIENT", "Expected the packet Hello")
            hello = packets.read_hello(self._source)
            time.sleep(self._access.delay(self._peer))
            role = self._access.check(hello.user, hello.password, self._peer)
            if hello.revision < packets.OLDEST_REVISION:
                oldest = packets.OLDEST_REVISION
                reason = f"The client's protocol revision {hello.revision} is older than {oldest}: update it"
                raise refusal(UNEXPECTED_PACKET, "UNEXPECTED_PACKET_FROM_CLIENT", reason)
            self._outgoing.revision = revision = min(hello.revision, packets.REVISION)
            session = open_session(hello.database, role)
        except EngineError as error:
            self._outgoing.send(packets.exception(error))
            return None
        self._socket.settimeout(None)
        self._source.limit = BLOCK_BYTES
        self._outgoing.send(packets.hello(self._version, revision))
        return session

    def hang_up(self) -> None:
        """Disconnect the client and kill its query. Any thread may call it."""
        with suppress(OSError):  # the client left first
            self._socket.shutdown(socket.SHUT_RDWR)

    def serve(self, session: Session) -> None:
        """Answer packets until the client leaves.

        Raises:
            ClientGoneError: it left.
        """
        is_first = True
        while True:
            self._source.discard_read()
            try:
                if is_first and self._outgoing.revision >= packets.ADDENDUM:
                    self._in_step(lambda: self._source.string(HELLO_BYTES))  # the quota key, ahead of the first packet
                is_first = False
                packet = self._in_step(self._source.varint)
                self.is_busy = True
                self._handle(packet, session)
            except OutOfStepError as failure:
                self._outgoing.send(packets.exception(failure.error))
                return
            finally:
                self.is_busy = False

    def _handle(self, packet: int, session: Session) -> None:
        if packet == ClientPacket.PING:
            self._outgoing.send(packets.PONG)
        elif packet == ClientPacket.QUERY:
            self._answer(session)
        elif packet != ClientPacket.CANCEL:  # a Cancel here is for a query that has just ended
            raise OutOfStepError(_unexpected(packet))

    def _answer(self, session: Session) -> None:
        outgoing = self._outgoing
        query = self._in_step(lambda: packets.read_query(self._source, outgoing.revision))
        outgoing.is_compressed = query.compressed
        self._frames = ByteSource(FrameFeed(self._source)) if query.compressed else self._source
        try:
            self._receive_external_tables(session)
            request = self._request(query, session)
            if request.statement.kind is Kind.INSERT:
                self._insert(session, request)
            else:
                self._select(session, request)
        except EngineError as error:
            outgoing.send(packets.exception(session.explained(error)))
        finally:
            session.drop_external_tables()

    def _request(self, query: Query, session: Session) -> Request:
        settings = {
            name: value
            for name, (value, important) in query.settings.items()
            if important or name in self._setting_names()
        }
        return Request(session.read(query.sql), settings | session.tag(query.query_id), query.params)

    def _select(self, session: Session, request: Request) -> None:
        outgoing, size = self._outgoing, ResultSize()
        outgoing.time_zone(session.setting(request, "session_timezone"))
        with self._watcher.watching(self._socket, session.kill) as watch, self._following(session):
            try:
                with closing(session.result(request)) as result:
                    blocks: ResultBlocks | None = None
                    for part, block in result:
                        if blocks is None:
                            describe = partial(session.columns_meanwhile, request)
                            blocks = ResultBlocks(block, describe, outgoing.revision)
                            outgoing.block(blocks.header)
                        outgoing.block(blocks.complete(block), _PACKETS[part])
                        if part is Part.ROWS:
                            size.add(block)
            except EngineError as error:
                if not (watch.stopped and error.code == QUERY_WAS_CANCELLED):
                    raise
        if request.statement.kind is Kind.READ and not watch.stopped:
            if blocks is None:
                outgoing.header(session.columns(request))
            outgoing.send(packets.profile_info(size.rows, size.blocks, size.bytes))
            outgoing.tell_duration()
        outgoing.tell_progress()
        outgoing.send(packets.END_OF_STREAM)

    @contextmanager
    def _following(self, session: Session) -> Iterator[None]:
        """Tell the client how far its query is, while it runs."""
        self._outgoing.begin()
        session.follow(self._outgoing.progress)
        try:
            yield
        finally:
            session.follow(None)

    def _insert(self, session: Session, request: Request) -> None:
        statement, outgoing = request.statement, self._outgoing
        if data := statement.data:
            if statement.is_values:
                data = data.rstrip("; \r\n")
            session.insert(request, [data.encode("utf-8", "surrogateescape")])
            outgoing.send(packets.END_OF_STREAM)
            return
        outgoing.header(session.insert_columns(request))
        self._has_failed = False
        blocks = self._received_blocks()
        try:
            session.insert(request, blocks, "Native")
        except EngineError as error:
            # A client that waits after each block gets the error at once. Another client sends all blocks first, so
            # they are read and discarded.
            outgoing.send(packets.exception(session.explained(error)))
            self._has_failed = True
            for _ in blocks:
                pass
            return
        outgoing.block_was_taken()  # the empty block at the end
        outgoing.send(packets.END_OF_STREAM)

    def _received_blocks(self) -> Iterator[bytes]:
        while (received := self._receive_block()) is not None:
            yield received[2]
            if not self._has_failed:
                self._outgoing.block_was_taken()

    def _receive_external_tables(self, session: Session) -> None:
        """Read the Data packets that follow each query, up to the empty one."""
        failure: EngineError | None = None
        count = 0
        while (received := self._receive_block()) is not None:
            name, columns, block = received
            count += 1
            if count > _MOST_EXTERNAL_BLOCKS:
                reason = f"More than {_MOST_EXTERNAL_BLOCKS} blocks of external tables with one query"
                raise OutOfStepError(refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", reason))
            try:
                for column in columns:
                    parse_type(column.type_name)  # `skip_block` has not checked the types of a block without rows
                session.add_external_block(name, [(column.name, column.type_name) for column in columns], block)
            except EngineError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _receive_block(self) -> tuple[str, list[Column], bytes] | None:
        """Table name, columns and block of the next Data packet; None for the empty packet that ends them."""
        self._source.discard_read()
        packet = self._in_step(self._source.varint)
        if packet == ClientPacket.CANCEL:
            raise refusal(QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", "Query was cancelled by the client")
        if packet != ClientPacket.DATA:
            raise OutOfStepError(_unexpected(packet))
        name = self._in_step(lambda: self._source.string(HELLO_BYTES))
        frames = self._frames
        if frames is not self._source:
            frames.discard_read()
        self._in_step(lambda: packets.read_block_info(frames))
        start = frames.position
        has_flags = self._outgoing.revision >= packets.CUSTOM_SERIALIZATION
        columns, rows = self._in_step(lambda: skip_block(frames, has_flags=has_flags))
        if not columns and not rows:
            return None
        return name, columns, _without_flags(frames, start, columns if has_flags else [])

    @staticmethod
    def _in_step(read: Callable[[], T]) -> T:
        """Read a part of a packet. After an error, nobody knows where the next packet begins."""
        try:
            return read()
        except EngineError as error:
            raise OutOfStepError(error) from error


def _without_flags(source: ByteSource, start: int, columns: Sequence[Column]) -> bytes:
    """The bytes read from `start`, without the byte after each column's type: the engine does not read that byte."""
    parts = []
    with memoryview(source.buffer) as buffer:
        for column in columns:
            parts.append(bytes(buffer[start : column.type_end]))
            start = column.type_end + 1
        parts.append(bytes(buffer[start : source.position]))
    return b"".join(parts)


def _unexpected(packet: int) -> EngineError:
    return refusal(UNEXPECTED_PACKET, "UNEXPECTED_PACKET_FROM_CLIENT", f"Unexpected packet {packet} from client")
