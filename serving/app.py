"""Builds the service: paths and their endpoints, one reader, one poller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from config.errors import MedallionError
from config.settings import Settings
from serving.guard import HANDLERS, Guard
from serving.live.hub import Hub
from serving.live.poller import Poller
from serving.live.sockets import Sockets
from serving.market_data.candles import Candles
from serving.market_data.hot_reader import HotReader
from serving.market_data.markets import Markets
from serving.page_api import PageApi
from serving.replay.as_exchange import WsReplayApi
from serving.replay.endpoint import ReplayApi
from serving.replay.side import Sides
from serving.replay.slots import Slots
from serving.replay.source import RawSource
from serving.rest.endpoints import RestApi, json_response
from serving.rest.venue import Venue
from serving.udf.endpoints import DEFAULT_EXCHANGE, UdfApi

FOLDER = Path(__file__).parent
PAGE = FOLDER / "page"
FUTURES = "binance_usdm"
_REGISTRY_PERIOD_S = 10.0

log = structlog.get_logger(__name__)


def build(settings: Settings, sides: Sides) -> ASGIApp:
    """The service as an ASGI application; it connects when it starts.

    Args:
        settings: of the service and its ClickHouse.
        sides: the exchanges' sides of a connection, for `/ws-replay`.

    Raises:
        RegistryError: the symbols file cannot be used.
    """
    service = _Service(settings, sides)
    app = Starlette(
        routes=service.routes(),
        lifespan=service.lifespan,
        exception_handlers=HANDLERS,
    )
    return Guard(app, settings.serving_token.get_secret_value())


class _Service:
    def __init__(self, settings: Settings, sides: Sides) -> None:
        self._settings = settings
        self._sides = sides
        self._markets = Markets(settings.symbols_file)
        self._hub = Hub()
        self._reader: HotReader | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        reader = HotReader(self._settings)
        self._reader = reader
        candles = Candles(reader)
        app.router.routes.extend(self._routes_of_data(reader, candles))
        poller = Poller(reader, candles, self._hub)
        tasks = [asyncio.create_task(poller.run()), asyncio.create_task(self._refresh())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await reader.close()

    async def _refresh(self) -> None:
        """Read the registry again when it changes. Paths of a new exchange are added at the next start only."""
        while True:
            await asyncio.sleep(_REGISTRY_PERIOD_S)
            try:
                self._markets.refresh()
            except (MedallionError, OSError) as error:
                log.error("the symbols file cannot be used, the markets of the old one stay", error=str(error))

    def routes(self) -> list[BaseRoute]:
        """The routes that need no `HotReader`, and `/readyz`."""
        return [
            Route("/", _page),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/openapi.json", _openapi),
            Route("/healthz", _alive),
            Route("/readyz", self._ready),
            Route("/metrics", _metrics),
        ]

    def _routes_of_data(self, reader: HotReader, candles: Candles) -> list[BaseRoute]:
        page = PageApi(reader, candles, self._markets).endpoints()
        routes: list[BaseRoute] = [Route(f"/v1/{path}", endpoint) for path, endpoint in page.items()]
        routes += self._replays(reader)
        udf = UdfApi(reader, candles, self._markets).endpoints()
        routes += [Route(f"/udf/{path}", endpoint) for path, endpoint in udf.items()]
        routes += self._routes_of(reader, candles, "", Venue(DEFAULT_EXCHANGE, is_futures=False))
        routes += self._rest(reader, candles, "/fapi/v1", Venue(FUTURES, is_futures=True))
        for exchange in self._markets.exchanges:
            routes += self._routes_of(reader, candles, f"/{exchange}", Venue(exchange, is_futures=False))
        return routes

    def _replays(self, reader: HotReader) -> list[BaseRoute]:
        source, slots = RawSource(reader), Slots(is_open=self._settings.serving_raw)
        exchanges = WsReplayApi(source, self._markets, slots, self._sides)
        return [
            Route("/replay", ReplayApi(source, self._markets, slots).replay),
            WebSocketRoute("/ws-replay", exchanges.replay),
            WebSocketRoute("/ws-replay/{path:path}", exchanges.replay),
        ]

    def _routes_of(self, reader: HotReader, candles: Candles, prefix: str, venue: Venue) -> list[BaseRoute]:
        sockets = Sockets(venue.exchange, self._hub, self._markets)
        return [
            *self._rest(reader, candles, f"{prefix}/api/v3", venue),
            WebSocketRoute(f"{prefix}/ws", sockets.plain),
            WebSocketRoute(f"{prefix}/ws/{{streams:path}}", sockets.plain),
            WebSocketRoute(f"{prefix}/stream", sockets.named),
        ]

    def _rest(self, reader: HotReader, candles: Candles, prefix: str, venue: Venue) -> list[BaseRoute]:
        endpoints = RestApi(venue, reader, candles, self._markets).endpoints()
        return [Route(f"{prefix}/{path}", endpoint) for path, endpoint in endpoints.items()]

    async def _ready(self, request: Request) -> Response:
        """200 while ClickHouse answers."""
        del request
        assert self._reader is not None
        await self._reader.rows("ready", {})
        return json_response({"status": "ready"})


async def _alive(request: Request) -> Response:
    del request
    return json_response({"status": "alive"})


async def _metrics(request: Request) -> Response:
    # The other services use config.process.metrics_server. This one has an HTTP server and a port already.
    del request
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _page(request: Request) -> Response:
    del request
    return FileResponse(PAGE / "index.html")


async def _openapi(request: Request) -> Response:
    del request
    return FileResponse(FOLDER / "openapi.json", media_type="application/json")
