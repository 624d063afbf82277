"""A peer that answers with what it should not, and a client of it in a process of its own whose memory is measured."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import struct
import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from aiohttp import web

from config.symbols.market_lists import MarketListError, bound, markets_of
from producers.exchanges import exchange
from producers.exchanges.model import Rate, RestError
from producers.options import ProducerOptions
from producers.rest.client import FAILURES, RestClient
from producers.stream.connection import ExchangeConnection
from producers.venue_limits import VenueLimits

MB = 1_000_000
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
DEEP = b"[" * 20_000


@asynccontextmanager
async def peer(answer: Answer) -> AsyncIterator[str]:
    """An HTTP server on localhost that answers every request so; its address without a scheme."""
    server = web.Server(answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def venue_limits() -> VenueLimits:
    return VenueLimits("test", Rate(100, 1.0), Rate(100, 1.0), failures=1_000, open_s=1.0)


@functools.cache
def bomb(megabytes: int) -> bytes:
    """A gzip body of a few hundred kB: one compressed megabyte of blanks, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    blanks = b" " * MB
    piece = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = functools.reduce(lambda found, _: zlib.crc32(blanks, found), range(megabytes), 0)
    header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return header + piece * megabytes + packer.flush() + struct.pack("<II", checksum, megabytes * MB)


async def _rest(address: str) -> str:
    """What RestClient makes of the answer."""
    known = exchange("binance")
    assert known.rest is not None
    async with RestClient(known, known.rest, venue_limits(), f"http://{address}") as client:
        try:
            await client.newest("BTCUSDT")
        except FAILURES as error:
            return f"{type(error).__name__}: {error}"[:300]
    return "trades"


async def _unified_rest(address: str) -> str:
    """The same of the way through ccxt."""
    from producers.ccxt.rest_trades import RestTrades
    from producers.ccxt.venue import make

    venue = make("bitstamp", venue_limits(), 5.0, f"ws://{address}", f"http://{address}")
    try:
        venue.set_markets([{"id": "btcusd", "symbol": "BTC/USD", "base": "BTC", "quote": "USD", "spot": True}])
        await RestTrades("bitstamp", venue, venue_limits()).poll("BTC/USD")
    except RestError as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        await venue.close()
    return "trades"


def _market_list(address: str) -> str:
    """What `symbols build` makes of the answer."""
    import ccxt

    venue = ccxt.bitstamp({"number": str})
    venue.urls["api"] = dict.fromkeys(venue.urls["api"], f"http://{address}")
    bound(venue)
    try:
        markets_of(venue)
    except MarketListError as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "markets"


async def _frames(address: str) -> str:
    """A connection whose frames nobody takes until the peer has sent all that fits."""
    known = exchange("binance")
    connection = ExchangeConnection(known, f"ws://{address}", ["BTCUSDT"], ProducerOptions())
    taken = 0
    async with connection.open(asyncio.Event()) as frames, aclosing(_generator(frames)) as each:
        async for frame in each:
            await asyncio.sleep(0.05)
            taken += len(frame)
            if taken >= 29 * 15 * MB:
                break
    return f"{taken}"


async def _generator(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async for frame in frames:
        yield frame


def peak_bytes() -> int:
    """The most memory that this process had, since it was started by exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def _asked(what: str, where: str) -> dict[str, object]:
    """What the client makes of one peer, and by how much the process's peak has grown since."""
    before = peak_bytes()
    if what == "market_list":
        outcome = _market_list(where)
    else:
        outcome = asyncio.run({"rest": _rest, "unified": _unified_rest, "frames": _frames}[what](where))
    return {"outcome": outcome, "grown": peak_bytes() - before}


if __name__ == "__main__":
    client, *peers = sys.argv[1:]
    if client == "unified":
        # Its 60 MB are not what the peer makes the process take.
        importlib.import_module("ccxt.pro")
    sys.stdout.write(json.dumps([_asked(client, address) for address in peers]))
