"""Invariant: no answer of an exchange ends a process, fills its memory, or sends it and its keys elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import zlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import WebSocketException

from producers.exchanges import exchange
from producers.options import ProducerOptions
from producers.rest.bounded import ANSWER_BYTES, TooLargeError, decompressed
from producers.rest.client import FAILURES, RestClient
from producers.stream.connection import ExchangeConnection
from tests.producers.hostile_peer import DEEP, MB, Answer, bomb, peer, venue_limits

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = ("rest", "unified", "market_list")


async def client_of(what: str, *answers: Answer) -> list[dict[str, Any]]:
    """Outcome and memory of one client process against peers that answer so, one after the other."""
    async with AsyncExitStack() as peers:
        addresses = [await peers.enter_async_context(peer(answer)) for answer in answers]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.producers.hostile_peer", what, *addresses, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, errors = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode == 0, errors.decode()[-2_000:]
    return list(json.loads(said))


@pytest.mark.parametrize("what", CLIENTS)
def test_no_answer_is_followed_unpacked_or_the_end(what: str) -> None:
    """A redirect, brackets, and 300 MB in 300 kB: each a failed request, and the process asks the next."""
    body, asked = bomb(300), list[str]()
    assert len(body) < MB

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response([])

    async def brackets(_request: web.Request) -> web.Response:
        return web.Response(body=DEEP, content_type="application/json")

    async def packed(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    async def run() -> list[dict[str, Any]]:
        async with peer(elsewhere) as other:

            async def redirect(request: web.Request) -> web.Response:
                return web.Response(status=302, headers={"Location": f"http://{other}{request.path_qs}"})

            return await client_of(what, redirect, brackets, packed)

    found = asyncio.run(run())
    assert ["Error" in one["outcome"] for one in found] == [True] * 3, found
    assert asked == []
    assert found[-1]["grown"] < 250 * MB, found


def test_the_bomb_is_a_gzip_file() -> None:
    assert gzip.decompress(bomb(2)) == b" " * 2 * MB


def test_an_api_key_stays_with_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_BINANCE_API_KEY", "very-secret")
    keys: dict[str, list[str | None]] = {"binance": [], "elsewhere": []}

    async def run() -> None:
        async def elsewhere(request: web.Request) -> web.Response:
            keys["elsewhere"].append(request.headers.get("X-MBX-APIKEY"))
            return web.json_response([])

        async with peer(elsewhere) as other:

            async def answer(request: web.Request) -> web.Response:
                keys["binance"].append(request.headers.get("X-MBX-APIKEY"))
                return web.Response(status=307, headers={"Location": f"http://{other}/"})

            known = exchange("binance_usdm")
            assert known.rest is not None
            async with (
                peer(answer) as address,
                RestClient(known, known.rest, venue_limits(), f"http://{address}") as client,
            ):
                with pytest.raises(FAILURES):
                    await client.newest("BTCUSDT")

    asyncio.run(run())
    assert keys == {"binance": ["very-secret"], "elsewhere": []}


def test_a_handshake_that_is_redirected_fails() -> None:
    asked: list[str] = []

    async def run() -> None:
        async def elsewhere(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response()

        async with peer(elsewhere) as other:

            async def answer(_request: web.Request) -> web.Response:
                return web.Response(status=302, headers={"Location": f"ws://{other}/"})

            async with peer(answer) as address:
                connection = ExchangeConnection(exchange("binance"), f"ws://{address}/", ["BTCUSDT"], ProducerOptions())
                with pytest.raises(WebSocketException):
                    async with connection.open(asyncio.Event()):
                        pass

    asyncio.run(run())
    assert asked == []


def test_large_frames_wait_in_the_socket() -> None:
    """29 frames of 15 MB, as large as a connection takes, and a parser that is slow."""
    frame = "x" * (15 * MB)

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        for _ in range(29):
            await socket.send_str(frame)
        await socket.close()
        return socket

    (found,) = asyncio.run(client_of("frames", answer))
    assert int(found["outcome"]) == 29 * len(frame)
    assert found["grown"] < 200 * MB, found


@given(st.binary(max_size=2_000), st.integers(0, 2_000))
def test_what_is_unpacked_is_bounded_and_whole(content: bytes, most: int) -> None:
    packed = gzip.compress(content)
    if len(content) <= most:
        assert decompressed(packed, 16 + zlib.MAX_WBITS, most) == content
    else:
        with pytest.raises(TooLargeError):
            decompressed(packed, 16 + zlib.MAX_WBITS, most)


@given(st.binary(min_size=1, max_size=500), st.data())
@settings(max_examples=50)
def test_what_is_cut_is_damaged(content: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(content)
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    with pytest.raises(zlib.error):
        decompressed(cut, 16 + zlib.MAX_WBITS, ANSWER_BYTES)
