"""WebSocket connections: `/ws/<stream>`, `/stream?streams=a/b`, and the requests SUBSCRIBE, UNSUBSCRIBE and LIST."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving import metrics
from serving.live.hub import Hub, Outbox
from serving.live.streams import Stream, StreamError, parse
from serving.market_data.markets import Markets

MOST_STREAMS = 1_024
_POLICY_VIOLATION = 1008
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
# Binance's code of a request that it does not understand.
_INVALID = 2
# A new subscription is confirmed when the service has looked at its markets once, because what came before that look is
# not sent. If ClickHouse does not answer, it is confirmed after this time.
_FOLLOWED_WITHIN_S = 2.0


class SubscriberConnection:
    """The connection of one client."""

    def __init__(self, socket: WebSocket, hub: Hub, exchange: str, markets: Markets, *, is_named: bool) -> None:
        """`is_named`: each message has the name of its stream."""
        self._socket = socket
        self._hub = hub
        self._exchange = exchange
        self._markets = markets
        self._is_named = is_named
        self._outbox = Outbox()
        self._streams: dict[str, Stream] = {}
        self._sending = asyncio.Lock()

    async def serve(self, names: list[str]) -> None:
        """Send the streams of these names, and those that the client subscribes to, until it disconnects."""
        try:
            wanted = self._parse(names)
        except StreamError as error:
            await self._socket.close(_POLICY_VIOLATION, str(error)[:100])
            return
        try:
            await self._listen(wanted)
            await self._talk()
        except WebSocketDisconnect:
            pass  # The client has disconnected, perhaps before it was accepted.
        finally:
            for stream in self._streams.values():
                self._hub.leave(stream, self._outbox)

    async def _talk(self) -> None:
        await self._socket.accept()
        metrics.CLIENTS.inc()
        sender = asyncio.create_task(self._send())
        try:
            while True:
                await self._answer(await self._socket.receive_text())
        except (KeyError, RuntimeError):
            pass  # The client sent a binary frame, which is no request, or went away while it was answered.
        finally:
            metrics.CLIENTS.dec()
            sender.cancel()

    async def _send(self) -> None:
        while True:
            update = await self._outbox.take()
            async with self._sending:
                await self._socket.send_text(update.named if self._is_named else update.plain)
            metrics.SENT.inc()

    def _parse(self, names: list[str]) -> list[Stream]:
        if len(set(names) | self._streams.keys()) > MOST_STREAMS:
            raise StreamError(f"Invalid request: more than {MOST_STREAMS} streams on one connection.")
        return [parse(name, self._exchange, self._markets) for name in names]

    async def _listen(self, streams: list[Stream]) -> None:
        for stream in streams:
            self._streams[stream.name] = stream
            self._hub.listen(stream, self._outbox)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hub.until_followed(streams), _FOLLOWED_WITHIN_S)

    async def _answer(self, text: str) -> None:
        answer = await self._handle(text)
        async with self._sending:
            await self._socket.send_text(orjson.dumps(answer).decode())

    async def _handle(self, text: str) -> dict[str, Any]:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return _refusal("Invalid JSON.", None)
        if not isinstance(request, dict):
            return _refusal("Invalid request: not a JSON object.", None)
        request_id = request.get("id")
        if not isinstance(request_id, int | str | None):
            return _refusal("Invalid request: id must be a number or a string.", None)
        try:
            return {"result": await self._do(request.get("method"), request.get("params", [])), "id": request_id}
        except StreamError as error:
            return _refusal(str(error), request_id)

    async def _do(self, method: object, params: object) -> list[str] | None:
        if method not in _METHODS:
            raise StreamError(f"Invalid request: method must be one of {', '.join(_METHODS)}.")
        if method == "LIST_SUBSCRIPTIONS":
            return list(self._streams)
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise StreamError("Invalid request: params must be a list of stream names.")
        if method == "SUBSCRIBE":
            await self._listen(self._parse(params))
            return None
        for name in params:
            stream = self._streams.pop(name, None)
            if stream is not None and stream not in self._streams.values():
                self._hub.leave(stream, self._outbox)
        return None


def _refusal(message: str, request_id: int | str | None) -> dict[str, Any]:
    return {"error": {"code": _INVALID, "msg": message}, "id": request_id}


class Sockets:
    """The WebSocket endpoints of one exchange."""

    def __init__(self, exchange: str, hub: Hub, markets: Markets) -> None:
        self._exchange = exchange
        self._hub = hub
        self._markets = markets

    async def plain(self, socket: WebSocket) -> None:
        """`/ws` and `/ws/<stream>[/<stream>…]`."""
        names = [name for name in socket.path_params.get("streams", "").split("/") if name]
        await self._serve(socket, names, is_named=False)

    async def named(self, socket: WebSocket) -> None:
        """`/stream?streams=<stream>[/<stream>…]`."""
        names = [name for name in socket.query_params.get("streams", "").split("/") if name]
        await self._serve(socket, names, is_named=True)

    async def _serve(self, socket: WebSocket, names: list[str], *, is_named: bool) -> None:
        await SubscriberConnection(socket, self._hub, self._exchange, self._markets, is_named=is_named).serve(names)
