"""The HTTP port of a node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.errors import ACCESS_DENIED, EngineError, NodeStartError, refusal
from deploy.embedded.clickhouse.http import origin
from deploy.embedded.clickhouse.http.form import url_parameters
from deploy.embedded.clickhouse.http.handler import Handler, failure, login
from deploy.embedded.clickhouse.http.parameters import read_parameters
from deploy.embedded.clickhouse.http.sessions import Sessions
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.sql.policy import Role

_WORKERS = 64
_MAX_URL_BYTES = 1 << 18
_READ_BYTES = 1 << 18

Status = Callable[[], Mapping[str, Any]]


class HttpServer:
    """Serves `/` (queries), `/ping` and `/kafka` (state of the Kafka tables)."""

    def __init__(
        self,
        access: Access,
        open_session: Callable[[str, Role], Session],
        kafka_status: Status | None,
        kafka_fault: Callable[[], str],
    ) -> None:
        """Args:
        kafka_status: the state of the Kafka tables; None for a node without them.
        kafka_fault: gives the reason why the node has to be started again, with which `/ping` answers 503; "" if none.
        """
        self._access = access
        self._kafka_status, self._kafka_fault = kafka_status, kafka_fault
        self._sessions = Sessions(open_session)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="http-worker")
        self._handler = Handler(access, self._sessions, self._workers)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, grace_s: float) -> None:
        """Bind the port and accept clients.

        Args:
            host: address to listen on.
            port: port to listen on.
            grace_s: how long `stop` lets running queries end, seconds.

        Raises:
            NodeStartError: the port is taken or not permitted.
        """
        logging.getLogger("aiohttp.server").addFilter(_is_ours)
        application = web.Application(middlewares=[origin.check(host)])
        application.router.add_get("/ping", self._ping)
        application.router.add_get("/kafka", self._kafka)
        application.router.add_route("*", "/", self._root)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=grace_s,
            max_line_size=_MAX_URL_BYTES,
            read_bufsize=_READ_BYTES,
            # `Body` decodes in steps. aiohttp would decode all that has arrived at once.
            auto_decompress=False,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            reason = f"cannot listen on {host}:{port} (HTTP): {error.strerror}. Choose another port."
            raise NodeStartError(reason) from error

    async def stop(self) -> None:
        """Accept no more clients, wait for running queries, kill those that outlast the grace, close every session."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._handler.finish()
        await asyncio.to_thread(self._workers.shutdown)
        self._sessions.close()

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.method in {"GET", "HEAD"} and not request.query_string:
            return web.Response(text="Ok.\n")
        return await self._handler.answer(request)

    async def _ping(self, request: web.Request) -> web.Response:
        del request
        fault = self._kafka_fault()
        return web.Response(text=f"{fault}\n", status=503) if fault else web.Response(text="Ok.\n")

    async def _kafka(self, request: web.Request) -> web.Response:
        try:
            role = await login(self._access, request, read_parameters(url_parameters(request), request.headers))
            if role is not Role.OPERATOR:
                raise refusal(ACCESS_DENIED, "ACCESS_DENIED", "only the operator may see the state of Kafka tables")
        except EngineError as error:
            return failure(error)
        if self._kafka_status is None:
            return web.Response(text="this node has no Kafka tables: start it with --kafka-brokers\n", status=404)
        return web.Response(body=orjson.dumps(self._kafka_status()), content_type="application/json")


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a log record is about a fault of the node. Records about invalid HTTP could fill the disk."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)
