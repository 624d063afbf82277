"""Holds a few frames between ccxt and the publisher, so that a full publisher stops the reading."""

from __future__ import annotations

import asyncio
from collections import deque

from producers.exchanges.model import Parsed

_MOST_FRAMES = 64
_MOST_BYTES = 32 * 2**20
# None means that no more frames come.
Frame = tuple[bytes, Parsed] | None


class FrameQueue:
    """The frames of one instance of a ccxt class. It belongs to one event loop."""

    def __init__(self) -> None:
        """An empty queue."""
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    def __len__(self) -> int:
        """The number of frames that wait."""
        return len(self._frames)

    def put(self, frame: bytes, parsed: Parsed) -> None:
        """Append a frame, even if there is no room."""
        self._frames.append((frame, parsed))
        self._bytes += len(frame)
        self._arrived.set()

    def end(self) -> None:
        """Record that no more frames come."""
        self._frames.append(None)
        self._arrived.set()

    async def room(self) -> None:
        """Wait until there is room for another frame."""
        while len(self._frames) >= _MOST_FRAMES or self._bytes >= _MOST_BYTES:
            self._taken.clear()
            await self._taken.wait()

    async def take(self) -> Frame:
        """Wait for the oldest frame and remove it; None after `end`."""
        while not self._frames:
            self._arrived.clear()
            await self._arrived.wait()
        self._taken.set()
        frame = self._frames.popleft()
        self._bytes -= 0 if frame is None else len(frame[0])
        return frame
