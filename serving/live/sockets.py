"""WebSocket connections: `/ws/<stream>`, `/stream?streams=a/b`, and the requests of Binance's clients."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving import metrics
from serving.errors import ApiError
from serving.live.hub import Hub, Outbox
from serving.live.streams import Stream, StreamError, parse
from serving.market_data.markets import Markets
from serving.rest.endpoints import units_in_ms

MOST_STREAMS = 1_024
_POLICY_VIOLATION = 1008
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
# Binance's codes: an unknown property, a value of it that is no Boolean, another request that is wrong, no JSON.
_UNKNOWN_PROPERTY, _NO_BOOLEAN, _INVALID, _NO_JSON = 0, 1, 2, 3
# The one property: whether each message has the name of its stream.
_COMBINED = "combined"
# A new subscription is confirmed when the service has looked at its markets once, because what came before that look is
# not sent. If ClickHouse does not answer, it is confirmed after this time.
_FOLLOWED_WITHIN_S = 2.0


class SubscriberConnection:
    """The connection of one client."""

    def __init__(
        self, socket: WebSocket, hub: Hub, exchange: str, markets: Markets, *, is_named: bool, in_micros: bool = False
    ) -> None:
        """`is_named`: each message has the name of its stream. `in_micros`: its times are in µs, not ms."""
        self._socket = socket
        self._hub = hub
        self._exchange = exchange
        self._markets = markets
        self._is_named = is_named
        self._in_micros = in_micros
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
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                await self._answer(message["bytes"] if text is None else text)
        except RuntimeError:
            pass  # The client went away while it was answered.
        finally:
            metrics.CLIENTS.dec()
            sender.cancel()

    async def _send(self) -> None:
        while True:
            update = await self._outbox.take()
            async with self._sending:
                await self._socket.send_text(update.text(is_named=self._is_named, in_micros=self._in_micros))
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

    async def _answer(self, text: str | bytes) -> None:
        answer = await self._handle(text)
        async with self._sending:
            await self._socket.send_text(orjson.dumps(answer).decode())

    async def _handle(self, text: str | bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            where = f"at line {error.lineno} column {error.colno}"
            return _refusal(f"Invalid JSON: expected value {where}.", None, _NO_JSON)
        if not isinstance(request, dict):
            return _refusal("Invalid request: not a JSON object.", None)
        request_id = request.get("id")
        if isinstance(request_id, bool) or not isinstance(request_id, int | str | None):
            return _refusal("Invalid request: id must be a whole number, a string or null.", None)
        try:
            return {"result": await self._do(request.get("method"), request.get("params", [])), "id": request_id}
        except StreamError as error:
            return _refusal(str(error), request_id, error.code)

    def _property(self, sets: bool, params: object) -> bool | None:
        """Set or return `combined`; `params` are its name and, to set it, its value."""
        if not isinstance(params, list) or len(params) != (2 if sets else 1):
            raise StreamError('Invalid request: params must be ["combined", true or false], or ["combined"] to get it.')
        if params[0] != _COMBINED:
            raise StreamError("Unknown property: there is combined.", _UNKNOWN_PROPERTY)
        if not sets:
            return self._is_named
        if not isinstance(params[1], bool):
            raise StreamError("Invalid value type: expected Boolean.", _NO_BOOLEAN)
        self._is_named = params[1]
        return None

    async def _do(self, method: object, params: object) -> list[str] | bool | None:
        if method not in _METHODS:
            raise StreamError(f"Invalid request: method must be one of {', '.join(_METHODS)}.")
        if method == "LIST_SUBSCRIPTIONS":
            return list(self._streams)
        if method in {"SET_PROPERTY", "GET_PROPERTY"}:
            return self._property(method == "SET_PROPERTY", params)
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


def _refusal(message: str, request_id: int | str | None, code: int = _INVALID) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": request_id}


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
        try:
            in_micros = units_in_ms(socket.query_params.get("timeUnit", "")) > 1
        except ApiError as error:
            await socket.close(_POLICY_VIOLATION, error.message)
            return
        await SubscriberConnection(
            socket, self._hub, self._exchange, self._markets, is_named=is_named, in_micros=in_micros
        ).serve(names)
