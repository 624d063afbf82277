"""A worker follows re-derivations without a restart: what it knows of Silver is never older than Silver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from silver_processor.seen.index import SeenTrades
from silver_processor.seen.rederivations import LIVE, RederivationFollower

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MARKETS = [("binance", "BTCUSDT"), ("kraken", "BTCUSD")]


def nowhere(rows: pa.Table, _token: str = "") -> pa.Table:
    return rows.slice(0, 0)


def trade(age: timedelta) -> pa.Table:
    return pa.table({"timestamp": pa.array([NOW - age], pa.timestamp("us", "UTC"))})


class Server:
    """`rederivations`, and how often it was asked."""

    def __init__(self) -> None:
        self.switches: dict[str, int] = {}
        self.asked = 0

    def __call__(self) -> dict[str, int]:
        self.asked += 1
        return dict(self.switches)


def loaded() -> SeenTrades:
    index = SeenTrades(nowhere)
    index.load(MARKETS)
    return index


def test_markets_of_a_switched_exchange_are_forgotten() -> None:
    server, clock = Server(), iter(range(0, 1000, 10))
    follower = RederivationFollower(server, lambda: float(next(clock)))
    index = loaded()
    follower.follow(index, trade(timedelta()), NOW)
    assert index.markets == 0, "what was loaded before the first look may be older than a switch"
    index.load(MARKETS)
    follower.follow(index, trade(timedelta()), NOW)
    assert index.markets == 2
    server.switches = {"binance": 1}
    follower.follow(index, trade(timedelta()), NOW)
    assert index.markets == 1
    # Every switch counts, not only the first.
    index.load(MARKETS[:1])
    server.switches = {"binance": 2}
    assert follower.is_outdated()
    follower.follow(index, trade(timedelta()), NOW)
    assert index.markets == 1
    assert not follower.is_outdated()


def test_live_trades_ask_once_a_second_and_older_ones_always() -> None:
    server = Server()
    follower = RederivationFollower(server, lambda: 5.0)
    index = loaded()
    for _ in range(10):
        follower.follow(index, trade(timedelta(seconds=1)), NOW)
    assert server.asked == 1
    for _ in range(10):
        follower.follow(index, trade(LIVE), NOW)
    assert server.asked == 11
