"""An exchange that does as a test tells it, over a real WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve

from producers.exchanges.model import Exchange, chunks


@asynccontextmanager
async def exchange(behave: Callable[[ServerConnection, int], Awaitable[None]]) -> AsyncIterator[str]:
    """Its URL; `behave` is told the connection and which one it is, from 1 on."""
    count = 0

    async def connected(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await behave(connection, count)

    async with serve(connected, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def messages(known: Exchange, symbols: Sequence[str]) -> list[str]:
    """All that a new connection is sent to get these symbols' trades."""
    asked = chunks(symbols, known.symbols_a_message)
    return [*known.greeting, *(known.subscribe(chunk, number) for number, chunk in enumerate(asked, start=1))]


def trade(number: int, symbol: str = "BTCUSDT") -> str:
    """A Binance trade frame."""
    return f'{{"e":"trade","s":"{symbol}","t":{number},"p":"1.50","q":"2","T":1700000000000,"m":true}}'
