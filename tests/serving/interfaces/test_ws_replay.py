"""Invariant: a client of an exchange re-lives a recorded window over `/ws-replay`, trade for trade."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from confluent_kafka import Message
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close

import serving.replay.source
from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import exchange
from producers.kafka.envelope import Envelope, decode, encode, envelopes
from producers.live import run
from producers.replay.recording import Recording
from tests.offload.hot_tables import HotTables
from tests.producers.conftest import broker, consume
from tests.producers.exchange import messages
from tests.recorded import OURS, Recorded
from tests.serving.running import running

__all__ = ["broker", "consume"]

RECORDED = [
    OURS[name]
    for name in (
        "binance_usdm_trades",
        "kraken_v2_btcusd",
        "okx_v5_trades_synthetic",
        "bybit_v5_linear_synthetic",
        "coinbase_advanced_btcusd_synthetic",
    )
]
# How many frames of a recording are played, and how many messages are read at once, which are fewer.
FRAMES, PIECE = 12_000, 5_000
START_US = 1_767_607_200_000_000  # 2026-01-05T10:00Z
# Between two frames of a recording.
FRAME_US = 1_000
WINDOW = "from=2026-01-05T10:00&to=2026-01-05T11:00"


def recorded_messages(recorded: Recorded) -> list[Envelope]:
    """What a producer published of a recording, a frame each millisecond from `START_US` on."""
    parse, found = exchange(recorded.code).parse, []
    with Recording(recorded.path, longest_message=1 << 20) as recording:
        for number, frame in enumerate(recording):
            found += envelopes(recorded.code, frame, parse(frame), START_US + number * FRAME_US)
    return found


def raw_rows(published: list[Envelope]) -> pl.DataFrame:
    """Rows of trades_raw, as the Kafka table makes them."""
    rows = [
        (one.exchange, one.symbol, one.trade_id, one.price, one.quantity, one.timestamp, one.side, one.sequence,
         one.kind, one.matches, encode(one).decode(), offset, one.received_at)
        for offset, one in enumerate(published)
    ]  # fmt: skip
    names = ("exchange", "symbol", "trade_id", "price", "quantity", "timestamp_raw", "side", "sequence", "kind",
             "matches", "raw_json", "_offset", "received")  # fmt: skip
    at = pl.col("received").cast(pl.Datetime("us", "UTC"))
    return (
        pl.DataFrame(rows, schema=names, orient="row")
        .with_columns(
            pl.format("market.crypto.trades.{}.raw", "exchange").alias("_topic"),
            pl.lit(0, pl.UInt32).alias("_partition"),
            pl.col("_offset").cast(pl.UInt64),
            at.cast(pl.Datetime("ms", "UTC")).alias("published_at"),
            at.alias("received_at"),
            at.alias("ingested_at"),
        )
        .drop("received")
    )


@pytest.fixture
def url(settings: Settings, hot: HotTables) -> Iterator[str]:
    del hot
    with running(settings.model_copy(update={"serving_raw": True})) as address:
        yield address.replace("http", "ws")


def texts(messages: list[Envelope]) -> list[Envelope]:
    """The messages without the moment at which they came."""
    return [msgspec.structs.replace(one, received_at=0) for one in messages]


def test_an_unmodified_producer_publishes_the_recorded_messages_again(
    url: str,
    hot: HotTables,
    broker: str,
    consume: Callable[[str], list[Message]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Id by id, byte by byte and in the order of each symbol, whatever the exchange."""
    monkeypatch.setattr(serving.replay.source, "_PIECE", PIECE)
    kafka = Settings(kafka_bootstrap_servers=broker)
    for recorded in (one.part(FRAMES, tmp_path) for one in RECORDED):
        before = recorded_messages(recorded)
        hot.insert("trades_raw", raw_rows(before))
        symbols = sorted({one.symbol for one in before} - {""})

        def is_whole(counters: LiveCounters, wanted: int = len(before)) -> bool:
            return counters.published >= wanted

        counters = asyncio.run(
            run(
                recorded.code,
                symbols,
                kafka,
                endpoint=f"{url}/ws-replay?exchange={recorded.code}&{WINDOW}&stay=true",
                until=is_whole,
                duration_s=90,
            )
        )
        assert (counters.connections, counters.disconnects.total(), counters.control["error"]) == (1, 0, 0), (
            recorded.name
        )
        topic = f"market.crypto.trades.{recorded.code}.raw"
        came = sorted(consume(topic), key=lambda one: (one.partition(), one.offset()))
        after = [decode(one.value() or b"") for one in came]
        for symbol in symbols:
            ours, theirs = (texts([one for one in some if one.symbol == symbol]) for some in (after, before))
            assert ours == theirs, f"{recorded.name}: {symbol}"
        ids = {(trade["symbol"], trade["trade_id"]) for trade in recorded.trades().iter_rows(named=True)}
        assert {(one.symbol, one.trade_id) for one in after if one.trade_id} == ids, recorded.name


KRAKEN = OURS["kraken_v2_btcusd"]
SUBSCRIBE = messages(exchange("kraken"), ["BTC/USD"])


async def received(address: str, asked: list[str]) -> tuple[list[dict[str, Any]], int]:
    """All frames of trades up to the end, and the code with which the connection was closed."""
    frames = []
    async with connect(address, max_queue=None) as socket:
        for message in asked:
            await socket.send(message)
        try:
            while True:
                frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
                frames += [frame] if frame.get("channel") == "trade" else []
        except ConnectionClosed as closed:
            return frames, closed.rcvd.code if closed.rcvd else 0


def test_the_window_ends_as_tardis_ends_it_and_keeps_the_recorded_pace(url: str, hot: HotTables) -> None:
    before = recorded_messages(KRAKEN)
    hot.insert("trades_raw", raw_rows(before))
    address = f"{url}/ws-replay?exchange=kraken&{WINDOW}"
    frames, code = asyncio.run(received(address, SUBSCRIBE))
    assert code == 1000
    assert [trade["trade_id"] for frame in frames for trade in frame["data"]] == [int(one.trade_id) for one in before]
    # A message of several trades comes as one message again.
    assert len(frames) == len({one.received_at for one in before})
    recorded_s = (before[-1].received_at - before[0].received_at) / 1e6
    started = time.monotonic()
    again, code = asyncio.run(received(f"{address}&speed={recorded_s / 4:.6f}", SUBSCRIBE))
    assert (again, code) == (frames, 1000)
    assert time.monotonic() - started >= 4


def test_who_asks_for_more_while_it_plays_gets_it_from_then_on(url: str, hot: HotTables) -> None:
    def trade(symbol: str, number: int) -> Envelope:
        payload = f'{{"symbol":"{symbol}","side":"buy","price":1.5,"qty":2,"trade_id":{number},"timestamp":"x"}}'
        return Envelope(
            exchange="kraken", symbol=symbol, trade_id=f"{number}", price="1.5", quantity="2", timestamp="x",
            side="BUY", sequence="", received_at=START_US + number * 100_000, payload=payload,
        )  # fmt: skip

    hot.insert("trades_raw", raw_rows([trade(symbol, n) for n in range(40) for symbol in ("BTC/USD", "ETH/USD")]))

    async def main() -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        async with connect(f"{url}/ws-replay?exchange=kraken&{WINDOW}&speed=1", max_queue=None) as socket:
            await socket.send(SUBSCRIBE[0])
            try:
                while True:
                    frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
                    if frame.get("channel") != "trade":
                        continue
                    found += [(one["symbol"], one["trade_id"]) for one in frame["data"]]
                    if len(found) == 3:
                        await socket.send(messages(exchange("kraken"), ["ETH/USD"])[0])
            except ConnectionClosed:
                return found

    found = asyncio.run(main())
    assert [number for symbol, number in found if symbol == "BTC/USD"] == list(range(40))
    others = [number for symbol, number in found if symbol == "ETH/USD"]
    assert others == list(range(others[0], 40))
    assert 2 <= others[0] < 30


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("exchange=kraken&from=2026-01-05", 400, "'to'"),
        (f"exchange=nosuch&{WINDOW}", 400, "kraken"),
        (f"exchange=kraken&{WINDOW}&speed=fast", 400, "speed"),
        (f"exchange=kraken&{WINDOW}&stay=maybe", 400, "stay"),
        (f"exchange=kraken&{WINDOW}&session=a", 400, "parameter"),
    ],
)
def test_what_cannot_be_replayed_is_refused_before_the_connection_opens(
    url: str, query: str, status: int, word: str
) -> None:
    refused = refusal(f"{url}/ws-replay?{query}")
    assert refused.response.status_code == status
    assert word in json.loads(refused.response.body)["msg"]


def refusal(address: str) -> InvalidStatus:
    async def main() -> None:
        async with connect(address):
            pass

    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(main())
    return refused.value


def test_it_is_closed_by_default_and_two_run_at_a_time(settings: Settings, url: str) -> None:
    query = f"/ws-replay?exchange=kraken&{WINDOW}"
    with running(settings) as closed:
        assert refusal(closed.replace("http", "ws") + query).response.status_code == 403

    async def main() -> None:
        async with connect(url + query), connect(url + query) as second:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url + query)
            assert refused.value.response.status_code == 429
            # A client that goes leaves its place to another one.
            await second.close()
            async with asyncio.timeout(30):
                while True:
                    try:
                        async with connect(url + query):
                            return
                    except InvalidStatus:
                        await asyncio.sleep(0.05)

    asyncio.run(main())


def test_a_client_that_says_too_much_is_closed_with_the_reason(url: str, hot: HotTables) -> None:
    del hot

    async def main(*said: str) -> Close | None:
        async with connect(f"{url}/ws-replay?exchange=kraken&{WINDOW}&stay=true") as socket:
            with suppress(ConnectionClosed):
                for message in said:
                    await socket.send(message)
            with suppress(ConnectionClosed):
                while True:
                    await asyncio.wait_for(socket.recv(), 60)
            return socket.protocol.close_rcvd

    end = asyncio.run(main(*["x" * 60_000] * 5))
    assert end is not None
    assert (end.code, "connect again" in end.reason) == (1011, True)
