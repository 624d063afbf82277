"""Holds a few frames between ccxt and the publisher, so that a full publisher stops the reading."""

from __future__ import annotations

import asyncio
from collections import deque

from producers.exchanges.model import Parsed

_MOST_FRAMES = 64
_MOST_BYTES = 32 * 2**20
#: None: there will be no more.
Frame = tuple[bytes, Parsed] | None


class FrameQueue:
    """The frames of one instance of a ccxt class; belongs to one event loop."""

    def __init__(self) -> None:
        """Empty."""
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._frames)

    def put(self, frame: bytes, parsed: Parsed) -> None:
        """Append a frame, whether there is room or not."""
        self._frames.append((frame, parsed))
        self._bytes += len(frame)
        self._arrived.set()

    def end(self) -> None:
        """There will be no more frames."""
        self._frames.append(None)
        self._arrived.set()

    async def room(self) -> None:
        """Until there is room for another frame."""
        while len(self._frames) >= _MOST_FRAMES or self._bytes >= _MOST_BYTES:
            self._taken.clear()
            await self._taken.wait()

    async def take(self) -> Frame:
        """The oldest frame; None after `end`."""
        while not self._frames:
            self._arrived.clear()
            await self._arrived.wait()
        self._taken.set()
        frame = self._frames.popleft()
        self._bytes -= 0 if frame is None else len(frame[0])
        return frame
