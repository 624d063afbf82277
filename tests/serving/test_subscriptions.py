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
from serving.live.poller import Poller
from serving.live.sockets import SubscriberConnection
from serving.live.streams import Stream
from serving.market_data.candles import Candles
from serving.market_data.hot_reader import HotReader, Row
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
