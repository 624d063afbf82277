"""`/metrics`, `/healthz`, `/readyz`, `/status` of a live producer, on its event loop: a stuck one does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from producers.status import ProducerState

#: What is wrong, by name; empty: nothing is.
Troubles = Callable[[], Mapping[str, str]]


async def serve(
    host: str, port: int, alive: Troubles, ready: Troubles, state: Callable[[], ProducerState]
) -> tuple[web.AppRunner, int]:
    """Serve until the runner's `cleanup`; 503 and the troubles as JSON where there are any.

    Returns:
        the runner, and the port (a free one for 0).

    Raises:
        OSError: the port is taken.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def verdict(troubles: Mapping[str, str]) -> web.Response:
        return web.json_response({"ok": not troubles, "troubles": dict(troubles)}, status=503 if troubles else 200)

    async def healthz(_: web.Request) -> web.Response:
        return verdict(alive())

    async def readyz(_: web.Request) -> web.Response:
        return verdict(ready())

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(state()), content_type="application/json")

    application = web.Application()
    routes = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz, "/status": status}
    application.add_routes([web.get(path, answer) for path, answer in routes.items()])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, int(runner.addresses[0][1])
