"""Answers one HTTP request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TypeVar
from weakref import WeakKeyDictionary

import orjson
from aiohttp import ClientError, web

from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.errors import READONLY, EngineError, refusal
from deploy.embedded.clickhouse.http.body import HEAD_BYTES, TEXT_BYTES, Body
from deploy.embedded.clickhouse.http.form import ExternalTable, read_form, url_parameters
from deploy.embedded.clickhouse.http.parameters import Parameters, read_parameters
from deploy.embedded.clickhouse.http.sessions import Sessions
from deploy.embedded.clickhouse.http.status import content_type, http_status
from deploy.embedded.clickhouse.native_format.compression import encode_frames
from deploy.embedded.clickhouse.native_format.packets import BLOCK_INFO
from deploy.embedded.clickhouse.native_format.results import ResultBlocks
from deploy.embedded.clickhouse.session import Request, Session
from deploy.embedded.clickhouse.sql.policy import Role
from deploy.embedded.clickhouse.sql.statements import Kind, Statement

T = TypeVar("T")

# A result of at most this size is sent whole, so that an error in it still sets the HTTP status.
_PART_BYTES = 1 << 18
_KILL_INTERVAL_S = 0.05
_TEXT = "text/plain; charset=utf-8"
# By connection: the account with which it has logged in.
_logged_in: WeakKeyDictionary[asyncio.Transport, tuple[str, str]] = WeakKeyDictionary()


class Handler:
    """Runs the statements of HTTP requests in worker threads."""

    def __init__(self, access: Access, sessions: Sessions, workers: Executor) -> None:
        self._access = access
        self._sessions = sessions
        self._workers = workers
        # Tasks that end the queries of clients that have left.
        self._endings: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Wait until the queries of clients that left have ended."""
        if self._endings:
            await asyncio.wait(self._endings)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Run the statement of one request."""
        try:
            parameters = read_parameters(url_parameters(request), request.headers)
            role = await login(self._access, request, parameters)
            body = Body(request, is_in_frames=parameters.is_compressed)
            tables: list[ExternalTable] = []
            if request.content_type == "multipart/form-data":
                parameters, tables = await read_form(request)
            head = await body.read(HEAD_BYTES)
        except EngineError as error:
            return failure(error)
        exchange = HttpExchange(self._sessions, self._workers, self._endings, parameters, role, tables)
        try:
            return await exchange.run(request, head, body)
        except EngineError as error:
            return failure(error, exchange.headers)


async def login(access: Access, request: web.Request, parameters: Parameters) -> Role:
    """Check a client's password. A connection that has logged in before does not wait for others' failures.

    Raises:
        EngineError: 516 for an unknown user or a wrong password.
    """
    peer = request.remote or ""
    account = (parameters.user, parameters.password)
    transport = request.transport
    if transport is None or _logged_in.get(transport) != account:
        await asyncio.sleep(access.delay(peer))
    role = access.check(*account, peer)
    if transport is not None:
        _logged_in[transport] = account
    return role


def failure(error: EngineError, headers: dict[str, str] | None = None) -> web.Response:
    """The response for an error."""
    coded = {**(headers or {}), "X-ClickHouse-Exception-Code": str(error.code), "Content-Type": _TEXT}
    text = f"{error.text}\n".encode("utf-8", "surrogateescape")
    return web.Response(body=text, status=http_status(error.code), headers=coded)


class HttpExchange:
    """One statement that runs in a worker thread."""

    def __init__(
        self,
        sessions: Sessions,
        workers: Executor,
        endings: set[asyncio.Task[None]],
        parameters: Parameters,
        role: Role,
        tables: Sequence[ExternalTable] = (),
    ) -> None:
        self._sessions = sessions
        self._workers = workers
        self._endings = endings
        self._parameters, self._role, self._tables = parameters, role, tables
        self._session: Session | None = None
        self.headers = {
            "X-ClickHouse-Query-Id": parameters.query_id,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Server-Display-Name": "medallion",
        }

    async def run(self, request: web.Request, head: bytes, body: Body) -> web.StreamResponse:
        """Run the statement and send its result, whole if it is small.

        Args:
            request: the request to answer.
            head: the beginning of the body.
            body: the rest of it.

        Raises:
            EngineError: the statement was refused or failed before anything was sent.
        """
        parts = self._parts(head, body, may_change=request.method != "GET")
        part, is_last = await self._in_worker(lambda: self._framed(next(parts)))
        if is_last:
            return web.Response(body=part, headers=self.headers)
        try:
            response = web.StreamResponse(headers=self.headers)
            await response.prepare(request)
            while not is_last:
                await response.write(part)
                part, is_last = await self._next_or_break(parts, response, request)
            await response.write(part)
            await response.write_eof()
            return response
        finally:
            await self._in_worker(parts.close)

    async def _next_or_break(
        self, parts: Iterator[tuple[bytes, bool]], response: web.StreamResponse, request: web.Request
    ) -> tuple[bytes, bool]:
        try:
            return await self._in_worker(lambda: self._framed(next(parts)))
        except EngineError as error:
            # The status is already sent. The client learns of the error by the text and by the broken transfer.
            text = f"\n{error.text}\n".encode("utf-8", "surrogateescape")
            await response.write(self._framed((text, True))[0])
            if request.transport is not None:
                request.transport.close()
            raise ConnectionResetError(error.text) from error

    def _framed(self, part: tuple[bytes, bool]) -> tuple[bytes, bool]:
        """A piece of the answer, in compressed frames if the client asked for them."""
        data, is_last = part
        return (b"".join(encode_frames(data)), is_last) if self._parameters.wants_frames else part

    def _parts(self, head: bytes, body: Body, *, may_change: bool) -> Generator[tuple[bytes, bool], None, None]:
        """Pieces of the result, each with whether it is the last. Runs in a worker thread, as parsing takes time."""
        held: list[bytes] = []
        with self._sessions.lend(self._role, *self._wanted_session) as session:
            self._session = session
            try:
                with closing(self._result(session, head, body, may_change=may_change)) as result:
                    for chunk in result:
                        held.append(chunk)
                        if sum(map(len, held)) >= _PART_BYTES:
                            yield b"".join(held), False
                            held = []
            except EngineError as error:
                raise session.explained(error) from error
            finally:
                session.drop_external_tables()
        yield b"".join(held), True

    def _result(self, session: Session, head: bytes, body: Body, *, may_change: bool) -> Generator[bytes, None, None]:
        """Run the statement and yield its result."""
        statement, data = self._read(session, head, body)
        for table in self._tables:
            session.add_external_table(
                table.name, table.structure, table.input_format, table.rows, self._parameters.settings
            )
        request = Request(statement, self._settings(session), self._parameters.params)
        if statement.kind is not Kind.READ and not may_change:
            raise refusal(READONLY, "READONLY", "Cannot execute query in readonly mode: use POST for a change")
        if statement.kind is Kind.INSERT:
            self._insert(session, request, data, body)
        elif statement.kind is Kind.COMMAND:
            yield session.command(request, self._parameters.default_format)
            self._describe(self._parameters.default_format, 0)
        else:
            wanted = statement.output_format or self._parameters.default_format
            self._describe(wanted)
            yield from self._document(session, request, wanted)

    def _document(self, session: Session, request: Request, output_format: str) -> Generator[bytes, None, None]:
        """The result of a reading statement in its format. Native blocks fit the client's protocol revision."""
        revision = self._parameters.revision
        if output_format != "Native" or not revision:
            yield from session.rows(request, output_format)
            return
        with closing(session.blocks(request)) as blocks:
            for first in blocks:
                result = ResultBlocks(first, partial(session.columns_meanwhile, request), revision)
                for block in chain([first], blocks):
                    yield BLOCK_INFO + result.complete(block)

    def _read(self, session: Session, head: bytes, body: Body) -> tuple[Statement, bytes]:
        """The request's statement, and the data of an INSERT read so far."""
        prefix = self._parameters.query
        if prefix:
            statement = session.read(prefix, is_whole=not head and body.is_complete)
            if statement.kind is Kind.INSERT:
                return statement, statement.data.encode("utf-8", "surrogateescape") + head
            prefix += "\n"
        statement = session.read(prefix + _text(head), is_whole=body.is_complete)
        if not body.is_complete and not (statement.kind is Kind.INSERT and statement.output_format is not None):
            statement = session.read(prefix + _text(head + body.rest(TEXT_BYTES)))
        return statement, statement.data.encode("utf-8", "surrogateescape")

    def _insert(self, session: Session, request: Request, data: bytes, body: Body) -> None:
        """Insert the data read so far and the rest of the body."""
        statement = request.statement
        if statement.output_format is None and self._parameters.default_format != "TabSeparated":
            request = replace(request, statement=replace(statement, output_format=self._parameters.default_format))
        if statement.is_values and body.is_complete:
            data = data.rstrip(b"; \r\n")
        written = session.insert(request, chain([data] if data else [], body.parts()))
        self._describe(None, written)

    def _describe(self, output_format: str | None, written: int | None = None) -> None:
        """Set the headers for the content type and the number of rows written."""
        if written is not None:
            summary = {"read_rows": str(written), "written_rows": str(written)}
            self.headers["X-ClickHouse-Summary"] = orjson.dumps(summary).decode()
        else:
            self.headers["X-ClickHouse-Format"] = output_format or ""
        if output_format is not None:
            self.headers["Content-Type"] = content_type(output_format)

    def _settings(self, session: Session) -> dict[str, str]:
        given = self._parameters.query_id if self._parameters.is_query_id_given else ""
        return self._parameters.settings | session.tag(given)

    @property
    def _wanted_session(self) -> tuple[str, str, float]:
        """Database, session id and timeout (s), as `Sessions.lend` takes them."""
        return self._parameters.database, self._parameters.session_id, self._parameters.session_timeout_s

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. If the client leaves meanwhile, kill its query."""
        running = asyncio.get_running_loop().run_in_executor(self._workers, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # This is a task of its own, because a handler may be cancelled more than once.
            ending = asyncio.create_task(self._end(running))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)
            raise

    async def _end(self, running: asyncio.Future[T]) -> None:
        while not running.done():
            if self._session is not None:
                await asyncio.to_thread(self._session.kill)
            await asyncio.wait([running], timeout=_KILL_INTERVAL_S)
        with suppress(EngineError, ClientError, ConnectionError, asyncio.CancelledError):  # the client has left
            running.result()


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "surrogateescape")
