"""An exchange that sends as fast as its clients read: `python -m bench.live.firehose --frames N --state FILE`.

All frames are made before a client connects, so sending costs almost nothing. Each has one trade, as Binance's combined
endpoint sends it. Ids are consecutive. Every connection that subscribes gets all frames, then nothing more.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
import time
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from bench.load import SOURCES
from bench.trades import TradeStream
from config.registry import SymbolRegistry
from config.settings import Settings

MARKETS = 40
_CHUNK_BYTES = 65_536
_TEXT = 0x81
_SHORT, _MEDIUM = 126, 65_536


def wire(payload: bytes) -> bytes:
    """Encode an unmasked text frame (RFC 6455, 5.2).

    Raises:
        ValueError: the payload has 65,536 bytes or more, which no trade has.
    """
    size = len(payload)
    if size < _SHORT:
        return bytes((_TEXT, size)) + payload
    if size >= _MEDIUM:
        raise ValueError(f"a frame of {size} bytes")
    return struct.pack("!BBH", _TEXT, _SHORT, size) + payload


def chunks(frames: int) -> list[bytes]:
    """All frames, as of Binance's spot market, a few hundred in each chunk."""
    stream = TradeStream.load(SOURCES[:1], SymbolRegistry.load(Settings().symbols_file), MARKETS, 1)
    made, chunk = [], bytearray()
    for trade in stream.take(frames, time.time_ns() // 1_000):
        chunk += wire(trade.payload.encode())
        if len(chunk) >= _CHUNK_BYTES:
            made.append(bytes(chunk))
            chunk.clear()
    return [*made, bytes(chunk)]


async def _serve(frames: int, state: Path) -> None:
    made = chunks(frames)

    async def connected(connection: ServerConnection) -> None:
        await connection.recv()
        transport = connection.transport
        for chunk in made:
            transport.write(chunk)
            # This is the library's flow control, once for each chunk. `send` would apply it to each frame.
            await connection.drain()
        await connection.wait_closed()

    async with serve(connected, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        fresh = state.with_name(state.name + ".new")
        fresh.write_text(f"ws://127.0.0.1:{port}", encoding="ascii")
        fresh.replace(state)
        await asyncio.get_running_loop().create_future()


def main() -> int:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.live.firehose", description=__doc__)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument(
        "--state", type=Path, required=True, help="file to which the URL is written once clients can connect"
    )
    given = parser.parse_args()
    asyncio.run(_serve(given.frames, given.state))
    return 0


if __name__ == "__main__":
    sys.exit(main())
