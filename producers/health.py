"""`/healthz`, `/readyz` and `/status` of a live producer, beside its `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web
from prometheus_client import REGISTRY

from config.process import metrics_server
from producers.status import ProducerState

# Returns what is wrong, by name; empty if nothing is.
Troubles = Callable[[], Mapping[str, str]]


async def serve(
    host: str, port: int, alive: Troubles, ready: Troubles, state: Callable[[], ProducerState]
) -> tuple[web.AppRunner, int]:
    """Serve until the runner's `cleanup`.

    `/healthz` and `/readyz` answer 200, or 503 if `alive` or `ready` returns a trouble. The body names the troubles.
    `/status` answers `state` as JSON.

    Returns:
        the runner, and the port (a free one if `port` is 0).

    Raises:
        OSError: the port is taken.
    """

    def verdict(troubles: Mapping[str, str]) -> web.Response:
        return web.json_response({"ok": not troubles, "troubles": dict(troubles)}, status=503 if troubles else 200)

    def status() -> web.Response:
        return web.Response(body=msgspec.json.encode(state()), content_type="application/json")

    answers = {"/healthz": lambda: verdict(alive()), "/readyz": lambda: verdict(ready()), "/status": status}
    return await metrics_server.serve(REGISTRY, answers, host, port)
