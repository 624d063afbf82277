"""A subscription is confirmed when its changes are published: what comes before the first look is not sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.websockets import WebSocket

from config.settings import Settings
from serving.errors import ApiError
from serving.live.hub import Hub, Outbox
from serving.live.messages import kline_update, trade_update
from serving.live.poller import Poller
from serving.live.sockets import Sockets, SubscriberConnection
from serving.live.streams import Stream
from serving.market_data.candles import Candles
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.intervals import INTERVALS
from serving.market_data.markets import Markets

SUBSCRIBE = json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 7})
STREAM = Stream("btcusdt@trade", ("binance", "BTCUSDT"), "trade")


class AwayThenEmpty(HotReader):
    """ClickHouse is away at the first query, and has no rows afterwards."""

    def __init__(self) -> None:
        self.is_away = True

    async def rows(
        self, name: str, parameters: Mapping[str, object], *, within: int = 10, **names: object
    ) -> list[Row]:
        if self.is_away:
            self.is_away = False
            raise ApiError(-1001, "ClickHouse does not answer.", 503)
        return []


async def until_nothing_moves() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("names", [[], ["btcusdt@trade"]], ids=["by request", "by address"])
def test_the_answer_comes_after_the_first_look(names: list[str]) -> None:
    async def subscribe() -> None:
        received, sent = asyncio.Queue[dict[str, Any]](), asyncio.Queue[Any]()
        hub, socket = Hub(), WebSocket({"type": "websocket", "headers": []}, received.get, sent.put)
        connection = SubscriberConnection(socket, hub, "binance", Markets(Settings().symbols_file), is_named=False)
        serving = asyncio.create_task(connection.serve(names))
        await received.put({"type": "websocket.connect"})
        if not names:
            assert (await sent.get())["type"] == "websocket.accept"
            await received.put({"type": "websocket.receive", "text": SUBSCRIBE})
        await until_nothing_moves()
        assert hub.streams == [STREAM]
        assert sent.empty()
        hub.mark_followed([STREAM])
        answer = await sent.get()
        assert answer["type"] == ("websocket.accept" if names else "websocket.send")
        assert names or json.loads(answer["text"]) == {"result": None, "id": 7}
        await received.put({"type": "websocket.disconnect", "code": 1000})
        await serving
        assert hub.streams == []

    asyncio.run(subscribe())


def test_a_look_that_fails_confirms_nothing() -> None:
    async def look() -> None:
        hub, reader = Hub(), AwayThenEmpty()
        poller = Poller(reader, Candles(reader), hub)
        hub.listen(STREAM, Outbox())
        waiting = asyncio.create_task(hub.until_followed([STREAM]))
        with pytest.raises(ApiError):
            await poller.look()
        await until_nothing_moves()
        assert not waiting.done()
        await poller.look()
        await waiting

    asyncio.run(look())


def test_times_are_in_the_unit_of_the_address() -> None:
    trade: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "trade_id": "7",
        "price": "1",
        "quantity": "2",
        "time": 1_732_960_800_123,
    }
    trade |= {"time_us": 1_732_960_800_123_456, "is_buyer_maker": 1}
    candle: dict[str, Any] = dict.fromkeys(
        ("open", "high", "low", "close", "volume", "quote_volume", "buy_volume"), "1"
    )
    candle |= {"symbol": "BTCUSDT", "opened": 1_732_960_800, "trade_count": 1, "is_closed": 0}
    minute = Stream("btcusdt@kline_1m", STREAM.market, "kline", INTERVALS["1m"])

    async def heard(unit: str) -> list[Any]:
        received, sent = asyncio.Queue[dict[str, Any]](), asyncio.Queue[Any]()
        scope: dict[str, Any] = {"type": "websocket", "headers": [], "query_string": f"timeUnit={unit}".encode()}
        scope["path_params"] = {"streams": f"{STREAM.name}/{minute.name}"}
        hub = Hub()
        sockets = Sockets("binance", hub, Markets(Settings().symbols_file))
        serving = asyncio.create_task(sockets.plain(WebSocket(scope, received.get, sent.put)))
        await received.put({"type": "websocket.connect"})
        await until_nothing_moves()
        hub.mark_followed([STREAM, minute])
        hub.publish(STREAM, trade_update(STREAM.name, trade, 1_732_960_800_200))
        hub.publish(minute, kline_update(minute.name, INTERVALS["1m"], candle, 1_732_960_800_200))
        first = await sent.get()
        if first["type"] == "websocket.close":
            await serving
            return [first["code"]]
        messages = [json.loads((await sent.get())["text"]) for _ in range(2)]
        await received.put({"type": "websocket.disconnect", "code": 1000})
        await serving
        return [messages[0]["E"], messages[0]["T"], messages[1]["k"]["t"], messages[1]["k"]["T"]]

    opened = 1_732_960_800
    micros = [opened * 10**6 + 200_000, trade["time_us"], opened * 10**6, (opened + 60) * 10**6 - 1]
    assert asyncio.run(heard("MICROSECOND")) == asyncio.run(heard("microsecond")) == micros
    assert asyncio.run(heard("MILLISECOND")) == asyncio.run(heard("")) == [time // 1000 for time in micros]
    assert asyncio.run(heard("SECOND")) == [1008]
