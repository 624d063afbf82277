"""Answers one HTTP request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import orjson
from aiohttp import BodyPartReader, ClientError, web

from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.errors import NOT_IMPLEMENTED, READONLY, EngineError, refusal
from deploy.embedded.clickhouse.http.body import HEAD_BYTES, Body
from deploy.embedded.clickhouse.http.parameters import Parameters, read_parameters
from deploy.embedded.clickhouse.http.sessions import Sessions
from deploy.embedded.clickhouse.http.status import content_type, http_status
from deploy.embedded.clickhouse.session import Request, Session
from deploy.embedded.clickhouse.statements import Kind, Statement, parse

T = TypeVar("T")

# A result that fits is sent whole, so that an error in it still gets its own status.
_PART_BYTES = 1 << 18
_KILL_INTERVAL_S = 0.05


class Handler:
    """Runs the statements of HTTP requests in worker threads."""

    def __init__(self, access: Access, sessions: Sessions, workers: Executor) -> None:
        self._access = access
        self._sessions = sessions
        self._workers = workers
        self._endings: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Wait for the end of the queries whose clients have left."""
        if self._endings:
            await asyncio.wait(self._endings)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Run the statement of one request."""
        try:
            parameters = read_parameters(request.query, request.headers)
            self._access.check(parameters.user, parameters.password)
            if request.content_type == "multipart/form-data":
                parameters = await _form_parameters(request)
            body = Body(request)
            statement, data = await _statement(parameters, body)
            if request.method == "GET" and statement.kind is not Kind.READ:
                raise refusal(READONLY, "READONLY", "Cannot execute query in readonly mode: use POST for a change")
        except EngineError as error:
            return failure(error)
        exchange = Exchange(self._sessions, self._workers, self._endings, parameters, statement)
        try:
            if statement.kind is Kind.INSERT:
                return await exchange.insert(data, body)
            if statement.kind is Kind.COMMAND:
                return await exchange.command()
            return await exchange.rows(request)
        except EngineError as error:
            return failure(error, exchange.headers)


def failure(error: EngineError, headers: dict[str, str] | None = None) -> web.Response:
    """The response for an error."""
    coded = {**(headers or {}), "X-ClickHouse-Exception-Code": str(error.code)}
    return web.Response(text=error.text + "\n", status=http_status(error.code), headers=coded)


async def _form_parameters(request: web.Request) -> Parameters:
    """The request's parameters with the text fields of a form, in which long parameters travel."""
    fields: dict[str, str] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None or part.filename is not None:
            reason = "External data is not supported over HTTP; send it over the native protocol"
            raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
        fields[part.name] = await part.text()
    return read_parameters({**request.query, **fields}, request.headers)


async def _statement(parameters: Parameters, body: Body) -> tuple[Statement, bytes]:
    """The request's statement, and what was read of the data of an INSERT."""
    prefix = parameters.query
    if prefix:
        statement = parse(prefix)
        if statement.kind is Kind.INSERT:
            return statement, statement.data.encode("utf-8", "surrogateescape")
        prefix += "\n"
    head = await body.read(HEAD_BYTES)
    statement = parse(prefix + head.decode("utf-8", "surrogateescape"))
    if not body.is_complete and not (statement.kind is Kind.INSERT and statement.output_format is not None):
        head += await body.read_all()
        statement = parse(prefix + head.decode("utf-8", "surrogateescape"))
    return statement, statement.data.encode("utf-8", "surrogateescape")


class Exchange:
    """One statement on its way through a worker thread."""

    def __init__(
        self,
        sessions: Sessions,
        workers: Executor,
        endings: set[asyncio.Task[None]],
        parameters: Parameters,
        statement: Statement,
    ) -> None:
        self._sessions = sessions
        self._workers = workers
        self._endings = endings
        self._parameters = parameters
        self._request = Request(statement, parameters.settings, parameters.params)
        self._session: Session | None = None
        self.headers = {
            "X-ClickHouse-Query-Id": parameters.query_id,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Server-Display-Name": "medallion",
        }

    async def insert(self, data: bytes, body: Body) -> web.Response:
        """Insert the data read so far and the rest of the body."""
        statement = self._request.statement
        if statement.output_format is None and self._parameters.default_format != "TabSeparated":
            self._request = replace(
                self._request, statement=replace(statement, output_format=self._parameters.default_format)
            )
        if statement.output_format == "Values" and body.is_complete:
            data = data.rstrip(b"; \r\n")
        chunks: Iterator[bytes] = chain([data] if data else [], body.parts())
        written = await self._with_session(lambda session: session.insert(self._request, chunks))
        summary = {"read_rows": str(written), "written_rows": str(written)}
        return web.Response(headers={**self.headers, "X-ClickHouse-Summary": orjson.dumps(summary).decode()})

    async def command(self) -> web.Response:
        """Run a statement without rows from the client."""
        wanted = self._parameters.default_format
        result = await self._with_session(lambda session: session.command(self._request, wanted))
        summary = {"X-ClickHouse-Summary": '{"read_rows":"0","written_rows":"0"}'}
        return web.Response(body=result, headers={**self.headers, **summary, "Content-Type": content_type(wanted)})

    async def rows(self, request: web.Request) -> web.StreamResponse:
        """Send the result of a reading statement, whole if it is small."""
        wanted = self._request.statement.output_format or self._parameters.default_format
        headers = {**self.headers, "X-ClickHouse-Format": wanted, "Content-Type": content_type(wanted)}
        parts = self._result_parts(wanted)
        part, is_last = await self._in_worker(lambda: next(parts))
        if is_last:
            return web.Response(body=part, headers=headers)
        try:
            response = web.StreamResponse(headers=headers)
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
            return await self._in_worker(lambda: next(parts))
        except EngineError as error:
            # The status has gone out: the text at the end and a broken transfer tell the client.
            await response.write(f"\n{error.text}\n".encode())
            if request.transport is not None:
                request.transport.close()
            raise ConnectionResetError(error.text) from error

    def _result_parts(self, output_format: str) -> Generator[tuple[bytes, bool], None, None]:
        """Pieces of the result, each with whether it is the last."""
        with self._sessions.lend(*self._lending) as session:
            self._session = session
            held: list[bytes] = []
            with closing(session.rows(self._request, output_format)) as rows:
                for chunk in rows:
                    held.append(chunk)
                    if sum(map(len, held)) >= _PART_BYTES:
                        yield b"".join(held), False
                        held = []
        yield b"".join(held), True

    @property
    def _lending(self) -> tuple[str, str, float]:
        return self._parameters.database, self._parameters.session_id, self._parameters.session_timeout_s

    async def _with_session(self, work: Callable[[Session], T]) -> T:
        def lend_and_work() -> T:
            with self._sessions.lend(*self._lending) as session:
                self._session = session
                return work(session)

        return await self._in_worker(lend_and_work)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread; if the client leaves meanwhile, see to it that its query ends."""
        running = asyncio.get_running_loop().run_in_executor(self._workers, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A task of its own: a handler may be cancelled more than once.
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
        with suppress(EngineError, ClientError, ConnectionError, asyncio.CancelledError):  # nobody is left to be told
            running.result()
