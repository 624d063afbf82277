"""Invariant: trades of one moment that Kraken's stream leaves out come over REST (krakenfx/api-go#36)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from confluent_kafka import Message
from websockets.asyncio.server import ServerConnection

from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges.model import Rate
from producers.live import run
from producers.options import ProducerOptions
from tests.producers import market_lists
from tests.producers.exchange import exchange

MOMENTS, AT_ONCE = 12, 3
DEADLINE_S = 40.0
QUICK = ProducerOptions(back_off_s=0.1, heal_after_s=0.05, quiet_s=0.3, requests=Rate(100, 1.0))


def test_every_trade_of_a_moment_is_published(settings: Settings, consume: Callable[[str], list[Message]]) -> None:
    traded: list[list[object]] = []

    def rest(query: market_lists.Query) -> object:
        since_ns = int(query.get("since", "0"))
        rows = [row for row in traded if float(str(row[2])) * 1e9 >= since_ns - 1_000][:1_000]
        return {"error": [], "result": {"XXBTZUSD": rows, "last": "0"}}

    async def behave(connection: ServerConnection, number: int) -> None:
        del number
        await connection.recv()
        acknowledged = {"channel": "trade", "snapshot": True, "symbol": "BTC/USD"}
        await connection.send(json.dumps({"method": "subscribe", "result": acknowledged, "success": True}))
        while len(traded) < MOMENTS * AT_ONCE:
            now_us = time.time_ns() // 1_000
            moment = f"{now_us // 1_000_000}.{now_us % 1_000_000:06d}"
            first = len(traded) + 1
            for part in range(AT_ONCE):
                traded.append([f"63000.{part}", "0.01000000", float(moment), "b", "m", "", first + part])
            stamp = datetime.fromtimestamp(now_us / 1e6, UTC).isoformat().replace("+00:00", "Z")
            one = {"symbol": "BTC/USD", "side": "buy", "price": 63000.0, "qty": 0.01, "ord_type": "market",
                   "trade_id": first, "timestamp": stamp}  # fmt: skip
            await connection.send(json.dumps({"channel": "trade", "type": "update", "data": [one]}))
            await asyncio.sleep(0.05)
        await connection.wait_closed()

    async def main(rest_url: str) -> LiveCounters:
        async with exchange(behave) as url:
            return await run(
                "kraken", ["BTC/USD"], settings, endpoint=url, rest_endpoint=rest_url, options=QUICK,
                until=lambda counters: counters.gaps.healed >= (MOMENTS - 1) * (AT_ONCE - 1) and not counters.gaps.open
                and counters.published >= MOMENTS * AT_ONCE, duration_s=DEADLINE_S,
            )  # fmt: skip

    with market_lists.answering({"/0/public/Trades": rest}) as rest_url:
        counters = asyncio.run(main(rest_url))
    ids = {int(json.loads(message.value())["trade_id"]) for message in consume(settings.raw_topic("kraken"))}
    assert ids == set(range(1, MOMENTS * AT_ONCE + 1))
    assert counters.trades == MOMENTS
    assert counters.gaps.unfillable == 0
