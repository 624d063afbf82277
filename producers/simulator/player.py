"""Plays one exchange's recording on one timeline, to all connections that have subscribed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from config.schedule import Schedule
from producers.exchanges import exchange as exchange_of
from producers.exchanges.model import ACK, ERROR, HEARTBEAT, PONG, STATUS, Control, Parsed, Trade, Trades, frame_time_us
from producers.replay.recording import Recording
from producers.simulator.faults import Fault, FaultChoices, FaultPlan, newest_first
from producers.simulator.protocols.model import ExchangeProtocol
from producers.simulator.synthetic import RandomWalk

# Control messages of a single connection. The simulator sends its own instead of the recorded ones.
_OF_CONNECTION = frozenset((ACK, ERROR, HEARTBEAT, PONG, STATUS))
# Clients subscribe in several messages. Frames are played only when a connection has not subscribed for this time.
SETTLE_S = 0.5
# After so many frames, other tasks get a turn.
_FRAMES_A_TURN = 64
# REST serves so many of a symbol's last trades.
_OWNED = 20_000
_LONGEST_MESSAGE = 1 << 25


@dataclass(slots=True, eq=False)
class Subscriber:
    """A connection and its subscriptions. `changed_s` is the time of their last change on the monotonic clock, s."""

    socket: ServerConnection
    venue: ExchangeProtocol
    symbols: set[str] = field(default_factory=set)
    changed_s: float = 0.0
    # Whether the connection is open but gets no more messages.
    silent: bool = False
    # Symbols of which it gets no more trades.
    deaf: set[str] = field(default_factory=set)
    # Answers that are sent after the next frame.
    late: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PlayerStatus:
    """Counters of one exchange.

    `read`: frames of the recording. `frames_sent` and `trades_sent`: over all connections. `owned`: trades that REST
    has got. `faults`: by name. `done`: whether the whole recording is played.
    """

    connections: int = 0
    subscribed: list[str] = field(default_factory=list)
    read: int = 0
    frames_sent: int = 0
    trades_sent: int = 0
    owned: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    done: bool = False


class Player:
    """Plays a recording once. With a plan of faults, it goes on while no client is connected."""

    def __init__(
        self,
        code: str,
        source: Path | RandomWalk,
        *,
        speed: float | None,
        wait_for_subscribers: bool,
        all_streams: bool,
        plan: FaultPlan | None = None,
    ) -> None:
        """Plays nothing yet. `speed`: times as fast as recorded; None: as fast as the connections read.

        Raises:
            UnknownExchangeError: no module has the code.
        """
        self.subscribers: set[Subscriber] = set()
        self._exchange = exchange_of(code)
        self._source = source
        self._speed = speed
        self._wait = wait_for_subscribers
        self._all_streams = all_streams
        self._status = PlayerStatus()
        self._code = code
        self.plan = plan
        self.choices = FaultChoices(plan) if plan is not None else None
        self._owned: dict[str, deque[Trade]] = {}
        self._recent: deque[tuple[bytes, Trades]] = deque(maxlen=plan.resend if plan is not None else 0)
        self._skip = 0
        self._held: list[tuple[bytes, Trades]] = []
        self._hold = 0

    def owned(self, symbol: str) -> list[Trade]:
        """The trades that REST serves: the last ones of a symbol, oldest first, with those that the stream left out."""
        return [*self._owned.get(symbol, ())]

    @property
    def status(self) -> PlayerStatus:
        """The counters so far."""
        self._status.connections = len(self.subscribers)
        self._status.subscribed = sorted({symbol for one in self.subscribers for symbol in one.symbols})
        return self._status

    async def play(self) -> None:
        """Play the whole recording.

        Raises:
            RecordingError: the file cannot be read.
        """
        schedule: Schedule | None = None
        async for frame in self._frames():
            parsed = self._exchange.parse(frame)
            self._status.read += 1
            if self._status.read % _FRAMES_A_TURN == 0:
                await asyncio.sleep(0)
            if not self._wanted(parsed):
                continue
            if self._wait and not (self.choices is not None and self._status.owned):
                await self._wait_for_subscribers()
            if self._speed is not None:
                schedule = schedule or Schedule(self._speed, time.monotonic())
                await asyncio.sleep(max(schedule.due_s(frame_time_us(parsed)) - time.monotonic(), 0.0))
            if isinstance(parsed, Trades):
                self._keep_for_rest(parsed)
                if self.choices is not None:
                    await self._send_with_faults(frame, parsed, self.choices)
                    continue
            await self._send(frame, parsed)
        await self._release()
        self._status.done = True

    async def _frames(self) -> AsyncIterator[bytes]:
        if isinstance(self._source, RandomWalk):
            if self._wait:
                # The trades of a random walk get the current time, so it starts only when a client is subscribed.
                await self._wait_for_subscribers()
            for frame in self._source.frames(self._code):
                yield frame
            return
        with Recording(self._source, longest_message=_LONGEST_MESSAGE) as recording:
            for frame in recording:
                yield frame

    async def resend(self, subscriber: Subscriber) -> None:
        """Send the last trades again to a connection that has just subscribed.

        Raises:
            ConnectionClosed: the client has disconnected.
        """
        for frame, parsed in [*self._recent]:
            await self._deliver(subscriber, frame, parsed)

    def _keep_for_rest(self, parsed: Trades) -> None:
        for trade in parsed.records:
            owned = self._owned.setdefault(trade.symbol, deque(maxlen=_OWNED))
            owned.append(trade)
            self._status.owned += 1

    async def _send_with_faults(self, frame: bytes, parsed: Trades, choices: FaultChoices) -> None:
        """Send the frame, unless a fault hits it: then apply the fault."""
        hit = choices.fault() if not (self._skip or self._hold) else None
        fault, length = hit or (None, 0)
        if fault is not None:
            self._status.faults[fault.name] = self._status.faults.get(fault.name, 0) + 1
        if fault is Fault.SKIP:
            self._skip = length
        if fault is Fault.NEWEST_FIRST:
            self._hold = length
        if self._skip:
            self._skip -= 1
            return
        # `resend` sends the frame again, even if it is not sent now.
        self._recent.append((frame, parsed))
        if self._hold:
            self._hold -= 1
            self._held.append((frame, parsed))
            if not self._hold:
                await self._release()
            return
        await self._apply(fault, {trade.symbol for trade in parsed.records})
        if fault is not Fault.DROP:
            await self._send(frame[: len(frame) // 2] if fault is Fault.MALFORMED else frame, parsed)

    async def _apply(self, fault: Fault | None, symbols: set[str]) -> None:
        """Apply a fault that hits connections. `symbols`: those of the frame."""
        if fault is Fault.DROP:
            for subscriber in [*self.subscribers]:
                subscriber.socket.transport.abort()
            self.subscribers.clear()
        elif fault is Fault.SILENCE:
            for subscriber in self.subscribers:
                subscriber.silent = True
        elif fault is Fault.DEAF:
            for subscriber in self.subscribers:
                subscriber.deaf |= symbols
        elif fault is Fault.SLOW and self.plan is not None:
            await asyncio.sleep(self.plan.slow_s)
        elif fault is Fault.ERROR:
            error = {"error": {"code": 1, "msg": "simulated"}, "success": False, "event": "error"}
            await self._send_to_all(json.dumps(error))

    async def _release(self) -> None:
        held, self._held = self._held, []
        for frame, parsed in newest_first(self._code, held):
            await self._send(frame, parsed)

    async def _send_to_all(self, text: str) -> None:
        for subscriber in [*self.subscribers]:
            if not subscriber.silent:
                with contextlib.suppress(ConnectionClosed):
                    await subscriber.socket.send(text)

    def _wanted(self, parsed: Parsed) -> bool:
        if isinstance(parsed, Control):
            return self._all_streams and parsed.kind not in _OF_CONNECTION
        return True

    async def _wait_for_subscribers(self) -> None:
        """Wait until a connection is subscribed, and no connection has subscribed for `SETTLE_S`."""
        while True:
            changes_s = [subscriber.changed_s for subscriber in self.subscribers if subscriber.symbols]
            settles_s = max(changes_s, default=0.0) + SETTLE_S - time.monotonic()
            if changes_s and settles_s <= 0:
                return
            await asyncio.sleep(max(settles_s, 0.01))

    async def _send(self, frame: bytes, parsed: Parsed) -> None:
        symbols = {trade.symbol for trade in parsed.records} if isinstance(parsed, Trades) else None
        for subscriber in [*self.subscribers]:
            if symbols is not None and symbols.isdisjoint(subscriber.symbols - subscriber.deaf):
                continue
            try:
                await self._deliver(subscriber, frame, parsed)
            except ConnectionClosed:
                self.subscribers.discard(subscriber)

    async def _deliver(self, subscriber: Subscriber, frame: bytes, parsed: Parsed) -> None:
        if not subscriber.symbols or subscriber.silent:
            return
        sent = subscriber.venue.frame(frame)
        await subscriber.socket.send(sent, text=_is_text(sent))
        while subscriber.late:
            await subscriber.socket.send(subscriber.late.pop(0))
        self._status.frames_sent += 1
        self._status.trades_sent += len(parsed.records) if isinstance(parsed, Trades) else 0


def _is_text(frame: bytes) -> bool:
    """Whether a frame can be a text message, which must be UTF-8. Others are sent as binary messages."""
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
