"""One exchange's recording on its one timeline, to all connections that subscribed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from producers.exchanges import exchange as exchange_of
from producers.exchanges.model import ACK, ERROR, HEARTBEAT, PONG, STATUS, Control, Parsed, Trades
from producers.recording import Recording
from producers.schedule import Schedule, frame_time_us
from producers.simulator.venues.model import Venue

#: The connection's own talk: the simulator makes its own, the recorded one is not sent.
_TALK = frozenset((ACK, ERROR, HEARTBEAT, PONG, STATUS))
#: Clients subscribe in several messages: play only when a connection has asked for nothing new for so long.
SETTLE_S = 0.5
_TURN = 64
_LONGEST_MESSAGE = 1 << 25


@dataclass(slots=True, eq=False)
class Subscriber:
    """A connection, and what it asked for (`changed_s`: when, on the monotonic clock)."""

    socket: ServerConnection
    venue: Venue
    symbols: set[str] = field(default_factory=set)
    changed_s: float = 0.0


@dataclass(slots=True)
class Status:
    """Counts of one exchange: `sent` frames and trades to all connections together, `read` of the recording."""

    connections: int = 0
    subscribed: list[str] = field(default_factory=list)
    read: int = 0
    frames_sent: int = 0
    trades_sent: int = 0
    done: bool = False


class Player:
    """Plays the recording once."""

    def __init__(
        self, code: str, path: Path, *, speed: float | None, wait_for_subscribers: bool, all_streams: bool
    ) -> None:
        """`speed` None: as fast as the connections take it.

        Raises:
            UnknownExchangeError: no module for the code.
        """
        self.subscribers: set[Subscriber] = set()
        self._exchange = exchange_of(code)
        self._path = path
        self._speed = speed
        self._wait = wait_for_subscribers
        self._all_streams = all_streams
        self._status = Status()

    @property
    def status(self) -> Status:
        """Counts so far."""
        self._status.connections = len(self.subscribers)
        self._status.subscribed = sorted({symbol for one in self.subscribers for symbol in one.symbols})
        return self._status

    async def play(self) -> None:
        """The whole recording; nobody's subscriptions change what was sent before.

        Raises:
            RecordingError: the file cannot be read.
        """
        schedule: Schedule | None = None
        with Recording(self._path, longest_message=_LONGEST_MESSAGE) as recording:
            for frame in recording:
                parsed = self._exchange.parse(frame)
                self._status.read += 1
                if self._status.read % _TURN == 0:
                    await asyncio.sleep(0)
                if not self._wanted(parsed):
                    continue
                if self._wait:
                    await self._listeners()
                if self._speed is not None:
                    schedule = schedule or Schedule(self._speed, time.monotonic())
                    await asyncio.sleep(max(schedule.due_s(frame_time_us(parsed)) - time.monotonic(), 0.0))
                await self._send(frame, parsed)
        self._status.done = True

    def _wanted(self, parsed: Parsed) -> bool:
        if isinstance(parsed, Control):
            return self._all_streams and parsed.kind not in _TALK
        return True

    async def _listeners(self) -> None:
        """Until somebody listens and all that do have finished subscribing."""
        while True:
            listening = [one.changed_s for one in self.subscribers if one.symbols]
            settles_s = max(listening, default=0.0) + SETTLE_S - time.monotonic()
            if listening and settles_s <= 0:
                return
            await asyncio.sleep(max(settles_s, 0.01))

    async def _send(self, frame: bytes, parsed: Parsed) -> None:
        symbols = {trade.symbol for trade in parsed.records} if isinstance(parsed, Trades) else None
        for subscriber in [*self.subscribers]:
            if not subscriber.symbols or (symbols is not None and symbols.isdisjoint(subscriber.symbols)):
                continue
            sent = subscriber.venue.frame(frame)
            try:
                await subscriber.socket.send(sent, text=_is_text(sent))
            except ConnectionClosed:
                self.subscribers.discard(subscriber)
                continue
            self._status.frames_sent += 1
            self._status.trades_sent += len(parsed.records) if isinstance(parsed, Trades) else 0


def _is_text(frame: bytes) -> bool:
    """A text message must be UTF-8; a recorded one that is not goes as a binary message."""
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
