"""The HTTP port of a long-running service: `/metrics` for Prometheus, and the service's own paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

# Answers a GET request.
Answer = Callable[[], web.Response]


async def serve(
    registry: CollectorRegistry, answers: Mapping[str, Answer], host: str, port: int
) -> tuple[web.AppRunner, int]:
    """Serve `/metrics` and the answers (by path) on the running event loop. If the loop hangs, it does not answer.

    Returns:
        the runner, whose `cleanup` ends the server, and the port (a free one if `port` is 0).

    Raises:
        OSError: the port is taken.
    """

    def metrics() -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    for path, answer in {"/metrics": metrics, **answers}.items():
        application.router.add_get(path, _handler(answer))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, int(runner.addresses[0][1])


def _handler(answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(_: web.Request) -> web.StreamResponse:
        return answer()

    return handle
