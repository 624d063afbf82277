"""The service in a thread of the tests' own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from config.settings import Settings
from deploy.embedded.ports import free_ports
from producers.simulator.protocols import PROTOCOLS
from serving.app import build


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """The whole service while the context lasts; gives the address."""
    with served(build(settings, PROTOCOLS)) as address:
        yield address


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application while the context lasts; gives the address."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    is_up = threading.Event()
    started = server.startup

    async def startup(*given: object, **named: object) -> None:
        await started(*given, **named)  # type: ignore[arg-type]
        is_up.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert is_up.wait(30)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
