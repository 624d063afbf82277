"""The simulator's server: a WebSocket at `/<exchange code>[/…]`, REST below it, and JSON at `/status`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Set
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from config.errors import MedallionError
from producers.simulator.faults import FaultPlan
from producers.simulator.player import Player, PlayerStatus, Subscriber
from producers.simulator.protocols import PROTOCOLS
from producers.simulator.protocols.model import Reply
from producers.simulator.rest import answer as rest_answer
from producers.simulator.synthetic import RandomWalk

_HOST = "127.0.0.1"


class SimulatorError(MedallionError):
    """The simulator cannot start."""


class Simulator:
    """Plays recordings by exchange code, each once on its own timeline."""

    def __init__(
        self,
        recordings: Mapping[str, Path | RandomWalk],
        *,
        speed: float | None = None,
        wait_for_subscribers: bool = False,
        all_streams: bool = False,
        plan: FaultPlan | None = None,
        refused: Mapping[str, Set[str]] | None = None,
    ) -> None:
        """Serves nothing yet.

        Args:
            recordings: the recording or random walk of each exchange code.
            speed: how many times as fast as recorded; None for as fast as the connections read.
            wait_for_subscribers: play only while a client is subscribed.
            all_streams: send the recording's other streams, too.
            plan: the faults to make.
            refused: by exchange code, the symbols that the exchange does not have. They may change at any time.

        Raises:
            UnknownExchangeError: no module has one of the codes.
        """
        self._players = {
            code: Player(
                code,
                source,
                speed=speed,
                wait_for_subscribers=wait_for_subscribers,
                all_streams=all_streams,
                plan=plan,
            )
            for code, source in recordings.items()
        }
        self._refused = refused or {}
        self._server: Server | None = None
        self._playing: list[asyncio.Task[None]] = []

    async def start(self, port: int = 0) -> int:
        """Serve on 127.0.0.1 and start to play.

        Returns:
            the port in use; a free one for `port` 0.

        Raises:
            SimulatorError: the port is taken.
        """
        try:
            self._server = await serve(
                self._connected, _HOST, port, process_request=self._request, compression=None, max_size=1 << 20
            )
        except OSError as error:
            raise SimulatorError(
                f"port {port}: {error.strerror}; choose another one with --port, or 0 for a free one"
            ) from error
        self._playing = [asyncio.create_task(player.play()) for player in self._players.values()]
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def wait(self) -> None:
        """Wait until every recording is played. Connections stay open.

        Raises:
            RecordingError: a recording cannot be read.
        """
        await asyncio.gather(*self._playing)

    async def close(self) -> None:
        """Close all connections."""
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def progress(self, code: str) -> PlayerStatus:
        """The counters of an exchange code's recording."""
        return self._players[code].status

    def status(self) -> dict[str, object]:
        """The content of `/status`."""
        exchanges = {code: asdict(player.status) for code, player in self._players.items()}
        return {"done": all(player.status.done for player in self._players.values()), "exchanges": exchanges}

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        code = _code(request.path)
        if code == "status":
            response = connection.respond(HTTPStatus.OK, json.dumps(self.status()) + "\n")
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        if code not in self._players:
            known = ", ".join(f"/{name}" for name in self._players)
            return connection.respond(HTTPStatus.NOT_FOUND, f"nothing at {request.path}; there is /status, {known}\n")
        prefix = f"/{code}/rest/"
        if request.path.startswith(prefix):
            target = request.path.removeprefix(prefix[:-1])
            parameters = {value for values in parse_qs(urlsplit(target).query).values() for value in values}
            if parameters & self._refused.get(code, frozenset()):
                return connection.respond(HTTPStatus.BAD_REQUEST, '{"code":-1121,"msg":"Invalid symbol."}')
            return _rest(connection, self._players[code], code, target, request.headers)
        return None

    async def _connected(self, socket: ServerConnection) -> None:
        url = urlsplit(socket.request.path if socket.request is not None else "")
        code = _code(url.path)
        player = self._players[code]
        subscriber = Subscriber(socket, PROTOCOLS[code](self._refused.get(code, frozenset())))
        beating: asyncio.Task[None] | None = None
        try:
            opened = subscriber.venue.open(url.path.removeprefix(f"/{code}"), parse_qs(url.query))
            await _apply(subscriber, opened, player)
            player.subscribers.add(subscriber)
            beating = asyncio.create_task(_beat(subscriber))
            async for message in socket:
                await _apply(subscriber, subscriber.venue.answer(_text(message)), player)
        except ConnectionClosed:
            pass
        finally:
            player.subscribers.discard(subscriber)
            if beating is not None:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)


def _code(path: str) -> str:
    return urlsplit(path).path.split("/")[1] if path.startswith("/") else ""


def _text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode(errors="replace")


async def _apply(subscriber: Subscriber, answer: Reply, player: Player) -> None:
    late = player.plan is not None and player.plan.late_acks and bool(answer.subscribed)
    if late:
        subscriber.late.extend(answer.replies)
    for reply in () if late or subscriber.silent else answer.replies:
        await subscriber.socket.send(reply)
    if answer.subscribed or answer.unsubscribed:
        subscriber.symbols |= answer.subscribed
        subscriber.symbols -= answer.unsubscribed
        subscriber.changed_s = time.monotonic()
        await player.resend(subscriber)


def _rest(connection: ServerConnection, player: Player, code: str, target: str, headers: Mapping[str, str]) -> Response:
    refusal = player.choices.refusal() if player.choices is not None else None
    if refusal is not None and player.plan is not None:
        response = connection.respond(refusal, "simulated\n")
        response.headers["Retry-After"] = str(player.plan.retry_after_s)
        return response
    body = rest_answer(code, target, player.owned, headers)
    if body is None:
        return connection.respond(HTTPStatus.NOT_FOUND, f"{code} has no {target}\n")
    response = connection.respond(HTTPStatus.OK, body)
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response


async def _beat(subscriber: Subscriber) -> None:
    while subscriber.venue.heartbeat_s:
        await asyncio.sleep(subscriber.venue.heartbeat_s)
        if subscriber.symbols and not subscriber.silent and (beat := subscriber.venue.heartbeat()):
            await subscriber.socket.send(beat)
