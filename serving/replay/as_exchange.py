"""`/ws-replay?exchange=…&from=…&to=…`: behaves like the exchange's WebSocket server and replays a recorded window.

Parameters and the end of the connection are Tardis Machine's
(https://docs.tardis.dev/tardis-machine/replaying-historical-data). `speed`, `pin` and `stay` are ours.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import IO
from urllib.parse import parse_qs

import msgspec
import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from config.schedule import Schedule, SpeedError, parse_speed
from serving import metrics
from serving.errors import ApiError
from serving.market_data.markets import Markets
from serving.parameters import RequestParameters
from serving.replay.options import Window, read_options
from serving.replay.side import ExchangeSide, RecordedTrade, SideReply, Sides
from serving.replay.slots import LONGEST_S, Slots
from serving.replay.source import RawSource
from serving.rest.endpoints import json_response

# Clients subscribe in several messages: the replay begins so long after the last one, s.
_SETTLE_S = 1.0
# A client without a subscription is disconnected after this time, s.
_LONGEST_WAIT_S = 60.0
_LOOK_S = 0.05
# Bybit's longest message has so many trades; other exchanges' have fewer.
_MOST_TRADES = 1_024
_MOST_SYMBOLS = 1_024
# Characters that a client may send in all. Subscriptions to that many symbols and an hour of pings need a fifth of it.
_MOST_CHARACTERS = 262_144
# So many messages are sent before other connections have their turn.
_TURN = 64
# Parameters of this endpoint.
_OURS = frozenset({"exchange", "from", "to", "speed", "pin", "stay"})
# Parameters that an exchange's protocol reads from the address.
_EXCHANGES = frozenset({"streams", "timeUnit"})
_FINISHED, _BROKEN = 1000, 1011
_LONGEST_REASON = 123


_decoder = msgspec.json.Decoder(RecordedTrade)


class WsReplayApi:
    """The endpoint."""

    def __init__(self, source: RawSource, markets: Markets, slots: Slots, sides: Sides) -> None:
        self._source = source
        self._markets = markets
        self._slots = slots
        self._sides = sides

    async def replay(self, socket: WebSocket) -> None:
        """Serve one client. A request that `/replay` would refuse gets the same status and JSON, before the WebSocket
        opens. A later error closes the WebSocket with 1011 and the reason.
        """
        try:
            session = self._session(socket)
            self._slots.take()
        except ApiError as error:
            await socket.send_denial_response(json_response({"code": error.code, "msg": error.message}, error.status))
            return
        await session.serve()

    def _session(self, socket: WebSocket) -> _Session:
        self._slots.check_open()
        parameters = RequestParameters(socket.query_params.multi_items(), _OURS | _EXCHANGES)
        options = {name: parameters.text(name) for name in ("exchange", "from", "to")}
        options["pin"] = parameters.optional("pin") or ""
        window = read_options(orjson.dumps(options).decode(), self._markets)
        if window.exchange not in self._sides:
            raise ApiError(
                -1130,
                f"Data sent for parameter 'exchange' is not valid: /ws-replay speaks as {', '.join(self._sides)}. "
                "`/replay` has every exchange.",
            )
        stay = parameters.optional("stay") or "false"
        if stay not in {"true", "false"}:
            raise ApiError(-1130, "Data sent for parameter 'stay' is not valid: give true or false.")
        try:
            speed = parse_speed(parameters.optional("speed") or "max")
        except SpeedError as error:
            raise ApiError(-1130, f"Data sent for parameter 'speed' is not valid: {error}.") from error
        side = self._sides[window.exchange](frozenset())
        return _Session(socket, side, self._source, window, self._slots, speed=speed, stays=stay == "true")


class _Session:
    """One connection: reads the client's messages, sends heartbeats, and replays the window."""

    def __init__(
        self,
        socket: WebSocket,
        side: ExchangeSide,
        source: RawSource,
        window: Window,
        slots: Slots,
        *,
        speed: float | None,
        stays: bool,
    ) -> None:
        self._socket = socket
        self._side = side
        self._source = source
        self._window = window
        self._slots = slots
        self._speed = speed
        self._stays = stays
        self._has_place = True
        self._symbols: set[str] = set()
        self._changed_s = 0.0
        self._sending = asyncio.Lock()

    async def serve(self) -> None:
        """Serve the client until the window is over, the client disconnects, or an hour is over."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._socket.accept()
            query = parse_qs(self._socket.url.query)
            await self._apply(self._side.open(f"/{self._socket.path_params.get('path', '')}".rstrip("/"), query))
            listening = asyncio.create_task(self._listen())
            playing = asyncio.create_task(self._play())
            tasks = [listening, playing, asyncio.create_task(self._beat())]
            async with asyncio.timeout(LONGEST_S):
                done, _ = await asyncio.wait((listening, playing), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if self._stays:
                    await listening
                await self._close(_FINISHED, "WS replay finished")
        except WebSocketDisconnect:
            pass
        except ApiError as error:
            await self._close(_BROKEN, error.message)
        except TimeoutError:
            await self._close(_BROKEN, f"A replay takes at most {LONGEST_S} s: ask for the rest with a later 'from'.")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._leave()

    async def _listen(self) -> None:
        characters = 0
        with suppress(WebSocketDisconnect):
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                if text is None:
                    text = message["bytes"].decode(errors="replace")
                characters += len(text)
                if characters > _MOST_CHARACTERS:
                    raise ApiError(-1130, f"More than {_MOST_CHARACTERS:,} characters of messages: connect again.")
                try:
                    answer = self._side.answer(text)
                except RecursionError as error:  # A reply repeats the client's id, however deeply it is nested.
                    raise ApiError(-1130, "A message is nested too deeply.") from error
                await self._apply(answer)

    async def _apply(self, answer: SideReply) -> None:
        for reply in answer.replies:
            await self._send(reply)
        if answer.subscribed or answer.unsubscribed:
            self._symbols |= answer.subscribed
            self._symbols -= answer.unsubscribed
            if len(self._symbols) > _MOST_SYMBOLS:
                raise ApiError(-1130, f"More than {_MOST_SYMBOLS:,} symbols: use another connection.")
            self._changed_s = time.monotonic()

    async def _beat(self) -> None:
        with suppress(WebSocketDisconnect):
            while self._side.heartbeat_s:
                await asyncio.sleep(self._side.heartbeat_s)
                if self._symbols and (beat := self._side.heartbeat()):
                    await self._send(beat)

    async def _play(self) -> None:
        try:
            with metrics.REPLAYS.track_inprogress():
                await self._subscribed()
                await self._play_window()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Give the slot back, once."""
        if self._has_place:
            self._has_place = False
            self._slots.give_back()

    async def _subscribed(self) -> None:
        """Wait until the client has subscribed, and sends no more subscriptions for `_SETTLE_S`."""
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                while not self._symbols or time.monotonic() - self._changed_s < _SETTLE_S:
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise ApiError(-1130, "No subscription to trades came: send the exchange's own message.") from error

    async def _play_window(self) -> None:
        schedule = Schedule(self._speed, time.monotonic()) if self._speed is not None else None
        rest, sent = self._window, 0
        while True:
            subscribed = frozenset(self._symbols)
            # Frames in which no trade was recognised have an empty symbol.
            window = replace(rest, spellings=("", *sorted(subscribed)))
            last_us = rest.from_us - 1
            async for trades in _together(
                self._source.envelopes(await self._source.plan(window, time.time_ns() // 1000))
            ):
                received_us = trades[0].received_at
                if received_us > last_us and not self._symbols <= subscribed:
                    # The client has subscribed to more symbols: read the rest of the window again with these.
                    rest = replace(rest, from_us=received_us)
                    break
                last_us = received_us
                if schedule is not None:
                    await asyncio.sleep(max(schedule.due_s(received_us) - time.monotonic(), 0.0))
                sent += 1
                if sent % _TURN == 0:
                    await asyncio.sleep(0)
                for frame in self._frames(trades):
                    await self._send(frame)
            else:
                return

    def _frames(self, trades: list[RecordedTrade]) -> list[bytes | str]:
        first = trades[0]
        if first.is_bare:
            return [base64.b64decode(first.payload) if first.payload_encoding else first.payload]
        if first.symbol and first.symbol not in self._symbols:
            return []
        return [frame.decode() for frame in self._side.frames(trades)]

    async def _send(self, frame: bytes | str) -> None:
        async with self._sending:
            if isinstance(frame, str):
                await self._socket.send_text(frame)
            else:
                await self._socket.send_bytes(frame)
        metrics.SENT.inc()

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))


async def _together(answers: AsyncIterator[IO[bytes]]) -> AsyncIterator[list[RecordedTrade]]:
    """The trades in groups of one symbol and one receive time, since an exchange sends these in one message.

    Messages that are no envelopes of ours are left out.
    """
    held: list[RecordedTrade] = []
    async for answer in answers:
        for line in answer:
            try:
                trade = _decoder.decode(line)
            except (msgspec.DecodeError, RecursionError):
                continue
            if held and not (_is_together(held[-1], trade) and len(held) < _MOST_TRADES):
                yield held
                held = []
            held.append(trade)
    if held:
        yield held


def _is_together(one: RecordedTrade, other: RecordedTrade) -> bool:
    return (one.received_at, one.symbol) == (other.received_at, other.symbol) and not (one.is_bare or other.is_bare)
