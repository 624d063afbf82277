"""Invariant: the simulator sends subscribed trades verbatim, and talks as the exchange does."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from producers.exchanges import REGISTRY, exchange
from producers.exchanges.model import Control, Trades
from producers.replay.recording import Recording
from producers.simulator.protocols import PROTOCOLS
from producers.simulator.server import Simulator, SimulatorError
from tests.producers.conftest import each_recording_played
from tests.producers.exchange import messages
from tests.recorded import Recorded

DEADLINE_S = 20.0


def with_simulator(
    recordings: Mapping[str, Path],
    client: Callable[[int, Simulator], Awaitable[None]],
    *,
    all_streams: bool = False,
    speed: float | None = None,
) -> None:
    async def main() -> None:
        simulator = Simulator(recordings, wait_for_subscribers=True, all_streams=all_streams, speed=speed)
        port = await simulator.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await client(port, simulator)
        finally:
            await simulator.close()

    asyncio.run(main())


async def drain(socket: ClientConnection, simulator: Simulator) -> list[bytes]:
    """All frames up to the end of the recording."""
    received: list[bytes] = []
    playing = asyncio.ensure_future(simulator.wait())
    while True:
        try:
            received.append(await asyncio.wait_for(socket.recv(decode=False), 0.3))
        except TimeoutError:
            if playing.done():
                return received


def frames(path: Path) -> list[bytes]:
    with Recording(path, longest_message=1 << 25) as recording:
        return list(recording)


def symbols_of(code: str, frame: bytes) -> set[str]:
    parsed = exchange(code).parse(frame)
    return {trade.symbol for trade in parsed.records} if isinstance(parsed, Trades) else set()


@each_recording_played
def test_one_symbol_s_frames_come_verbatim_and_in_order_and_no_other(recorded: Recorded) -> None:
    recorded_frames = frames(recorded.path)[-10_000:]
    symbol = sorted(set().union(*(symbols_of(recorded.code, frame) for frame in recorded_frames)))[0]
    known = exchange(recorded.code)

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{recorded.code}", compression=None, max_queue=None) as socket:
            for message in messages(known, [symbol]):
                await socket.send(message)
            received = await drain(socket, simulator)
        kinds = {parsed.kind for frame in received if isinstance(parsed := known.parse(frame), Control)}
        assert "ack" in kinds
        assert "error" not in kinds
        sent = [frame for frame in received if not isinstance(known.parse(frame), Control)]
        assert sent == [frame for frame in frames(recorded.path) if symbol in symbols_of(recorded.code, frame)]

    with_simulator({recorded.code: recorded.path}, client)


TRADES = [
    '{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"1.50"}}',
    '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"1","A":"1"}}',
    '{"result":null,"id":99}',
    '{"stream":"ethusdt@trade","data":{"e":"trade","s":"ETHUSDT","t":1,"p":"1.50"}}',
    "not json",
    "",
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*TRADES, ""]))
    return path


def test_binance_streams_in_the_url_of_the_combined_endpoint(recording: Path) -> None:
    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/binance/stream?streams=btcusdt@trade/x@depth") as socket:
            received = await drain(socket, simulator)
        assert [frame.decode() for frame in received] == [TRADES[0], TRADES[4], TRADES[5]]

    with_simulator({"binance": recording}, client)


def test_binance_raw_endpoint_sends_what_was_wrapped(recording: Path) -> None:
    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/binance/ws/ethusdt@trade") as socket:
            received = await drain(socket, simulator)
        assert [frame.decode() for frame in received] == [
            '{"e":"trade","s":"ETHUSDT","t":1,"p":"1.50"}',
            TRADES[4],
            TRADES[5],
        ]

    with_simulator({"binance": recording}, client)


def test_other_streams_come_if_asked_for_recorded_acknowledgements_never(recording: Path) -> None:
    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/binance/stream?streams=btcusdt@trade") as socket:
            received = await drain(socket, simulator)
        assert [frame.decode() for frame in received] == [TRADES[0], TRADES[1], TRADES[4], TRADES[5]]

    with_simulator({"binance": recording}, client, all_streams=True)


def test_status_counts_and_says_what_else_there_is(recording: Path) -> None:
    def get(url: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def client(port: int, simulator: Simulator) -> None:
        before = json.loads((await asyncio.to_thread(get, f"http://127.0.0.1:{port}/status"))[1])
        assert before["done"] is False
        assert before["exchanges"]["binance"]["frames_sent"] == 0
        async with connect(f"ws://127.0.0.1:{port}/binance/stream?streams=btcusdt@trade/ethusdt@trade") as socket:
            await drain(socket, simulator)
            status = json.loads((await asyncio.to_thread(get, f"http://127.0.0.1:{port}/status"))[1])
        assert status == {
            "done": True,
            "exchanges": {
                "binance": {
                    "connections": 1,
                    "subscribed": ["BTCUSDT", "ETHUSDT"],
                    "read": 6,
                    "frames_sent": 4,
                    "trades_sent": 2,
                    "owned": 2,
                    "faults": {},
                    "done": True,
                }
            },
        }
        code, text = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/kraken")
        assert (code, "/binance" in text) == (404, True)

    with_simulator({"binance": recording}, client)


@pytest.mark.parametrize("code", REGISTRY)
def test_pings_are_answered_and_nonsense_is_an_error(code: str, recording: Path) -> None:
    known = exchange(code)

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{code}") as socket:

            async def next_kind() -> str:
                parsed = known.parse(await socket.recv(decode=False))
                assert isinstance(parsed, Control)
                return parsed.kind if parsed.kind not in {"status", "heartbeat"} else await next_kind()

            if known.ping:
                await socket.send(known.ping)
                assert await next_kind() == "pong"
            await socket.send("nonsense")
            assert await next_kind() == "error"
            for message in messages(known, ["X"]):
                await socket.send(message)
                assert await next_kind() == "ack"

    with_simulator({code: recording}, client)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["trade", "trades", "market_trades", "BTC-USD"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("method", "op", "type", "params", "args", "id", "req_id", "channel", "symbol", "product_ids", "instId")
WORDS = st.sampled_from(["SUBSCRIBE", "subscribe", "unsubscribe", "ping"])
MEMBERS = st.dictionaries(
    st.sampled_from(NAMES), JSON | WORDS | st.lists(st.dictionaries(st.sampled_from(NAMES), JSON))
)


@given(st.lists(MEMBERS.map(json.dumps) | JSON.map(json.dumps) | st.text(), max_size=4))
@example(["[" * 5_000, '{"op":["a"],"args":[]}', '{"op":"subscribe","args":[{"channel":"trades","instId":{}}]}'])
@example(['{"type":{}}', '{"method":{},"params":{}}'])
def test_whatever_a_client_says_is_answered(said: list[str]) -> None:
    """By every exchange: to make an example takes longer than to answer it."""
    for code, protocol in PROTOCOLS.items():
        side = protocol(frozenset())
        for message in said:
            reply = side.answer(message)
            assert all(isinstance(symbol, str) for symbol in reply.subscribed | reply.unsubscribed), code


@pytest.mark.parametrize("code", ["kraken", "coinbase"])
def test_heartbeats_go_on_after_the_recording(code: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    known = exchange(code)

    async def client(port: int, simulator: Simulator) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{code}") as socket:
            for message in messages(known, ["X"]):
                await socket.send(message)
            beats = 0
            while beats < 2:
                beats += known.parse(await socket.recv(decode=False)) == Control("heartbeat")
        assert simulator.status()["done"]

    with_simulator({code: empty}, client)


def test_nothing_is_sent_while_nobody_listens(recording: Path) -> None:
    """A connection that was lost half-way finds the rest when it is back."""
    lines = [json.dumps({"e": "trade", "s": "BTCUSDT", "t": number, "T": 1_700_000_000_000 + number * 100})
             for number in range(30)]  # fmt: skip
    recording.write_text("\n".join(lines))

    async def client(port: int, simulator: Simulator) -> None:
        url = f"ws://127.0.0.1:{port}/binance/stream?streams=btcusdt@trade"
        async with connect(url) as socket:
            first = [await socket.recv() for _ in range(5)]
        async with connect(url) as socket:
            rest = [frame.decode() for frame in await drain(socket, simulator)]
        assert first == lines[:5]
        assert rest == lines[len(lines) - len(rest) :]
        assert len(rest) >= 20

    with_simulator({"binance": recording}, client, speed=5.0)


def test_a_taken_port_says_so(recording: Path) -> None:
    async def client(port: int, simulator: Simulator) -> None:
        with pytest.raises(SimulatorError, match=f"port {port}: .*--port"):
            await Simulator({"binance": recording}).start(port)

    with_simulator({"binance": recording}, client)
