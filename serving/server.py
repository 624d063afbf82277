"""Runs the service: `medallion serve`."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import ExitStack, closing

import structlog
import uvicorn

from config.process.garbage import collect_rarely
from config.settings import Settings
from serving.app import build
from serving.errors import ServingError
from serving.replay.side import Sides

_MOST_REQUEST_BYTES = 65_536
_MOST_CONNECTIONS = 2_000
_STOP_SECONDS = 5

log = structlog.get_logger(__name__)


def address(settings: Settings) -> str:
    """The address of the page."""
    host = settings.serving_host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.serving_port}/"


def serve(settings: Settings, sides: Sides) -> None:
    """Serve until SIGTERM or SIGINT; `sides` are those of `serving.app.build`.

    Raises:
        ServingError: another machine could reach it without a token, or its port cannot be used.
        RegistryError: the symbols file cannot be used.
    """
    if not _is_loopback(settings.serving_host) and not settings.serving_token.get_secret_value():
        raise ServingError(
            f"MEDALLION_SERVING_HOST={settings.serving_host} lets other machines in: set MEDALLION_SERVING_TOKEN "
            "(or …_FILE), which clients then send as X-MBX-APIKEY, or listen on 127.0.0.1."
        )
    config = uvicorn.Config(
        build(settings, sides),
        host=settings.serving_host,
        port=settings.serving_port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws_max_size=_MOST_REQUEST_BYTES,
        # Compressing each small message for each client costs more than all the rest.
        ws_per_message_deflate=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    with ExitStack() as open_sockets:
        sockets = _listen(settings, open_sockets)
        log.info("serving", address=address(settings))
        collect_rarely()
        uvicorn.Server(config).run(sockets)


def _listen(settings: Settings, open_sockets: ExitStack) -> list[socket.socket]:
    """A listening socket for each address of the host, closed with `open_sockets`.

    If uvicorn opened the sockets, it would log a taken port like a request, and end with its own exit code.
    """
    host, port = settings.serving_host, settings.serving_port
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        places = sorted({(family, place) for family, _, _, _, place in found})
        return [
            open_sockets.enter_context(closing(socket.create_server(place, family=family))) for family, place in places
        ]
    except socket.gaierror as error:
        raise ServingError(f"{host} is no address of this machine ({error.strerror}): correct --host.") from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise ServingError(
            f"Port {port} on {host} cannot be used ({why}): choose another one with --port or "
            "MEDALLION_SERVING_PORT. `medallion status` says whether the stack's own page is there already."
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
