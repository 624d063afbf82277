"""Invariant: through ccxt, too, a symbol that is refused or not listed is named and stops no other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping

import pytest
from websockets.asyncio.server import ServerConnection

from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import REGISTRY
from producers.exchanges.model import Rate
from producers.live import run
from producers.options import ProducerOptions
from producers.status import ProducerState, StatusFile
from tests.producers import market_lists
from tests.producers.exchange import exchange

DEADLINE_S = 40.0
QUICK = ProducerOptions(
    back_off_s=0.05, healthy_after_s=0.0, close_s=0.2, audit_s=60.0, ready_s=0.3, refused_s=0.5,
    requests=Rate(100, 1.0),
)  # fmt: skip
PAIRS = "/0/public/AssetPairs"
BOTH = ["BTC/USD", "DOGE/USD"]


class Watched(StatusFile):
    """Keeps the states instead of a file."""

    def __init__(self) -> None:
        self.states: list[ProducerState] = []

    def show(self, state: ProducerState) -> None:
        self.states.append(state)

    def end(self) -> None:
        """Nothing to remove."""

    def ends_with(self, wanted: Mapping[str, str]) -> bool:
        return bool(self.states) and dict(self.states[-1].symbol_states) == wanted


def trade(symbol: str) -> str:
    record = (
        f'{{"symbol":"{symbol}","side":"buy","price":1.5,"qty":2.0,"ord_type":"limit",'
        f'"trade_id":{time.time_ns()},"timestamp":"2026-01-01T00:00:00.000000Z"}}'
    )
    return f'{{"channel":"trade","type":"update","data":[{record}]}}'


def kraken(refused: set[str]) -> Callable[[ServerConnection, int], object]:
    """Kraken's stream: a trade of every symbol subscribed, ten times a second; `refused` ones it does not know."""

    async def behave(connection: ServerConnection, number: int) -> None:
        del number
        taken: set[str] = set()

        async def feed() -> None:
            while True:
                await asyncio.sleep(0.1)
                for symbol in taken:
                    await connection.send(trade(symbol))

        feeding = asyncio.ensure_future(feed())
        try:
            async for message in connection:
                asked = json.loads(message)
                if asked.get("method") != "subscribe":
                    continue
                for symbol in asked["params"]["symbol"]:
                    if symbol in refused:
                        error = f"Currency pair not supported {symbol}"
                        no = {"error": error, "method": "subscribe", "success": False, "symbol": symbol}
                        await connection.send(json.dumps(no | {"req_id": asked.get("req_id")}))
                    else:
                        taken.add(symbol)
        finally:
            feeding.cancel()

    return behave


def produce(
    settings: Settings,
    symbols: list[str],
    rest: Mapping[str, object],
    until: Callable[[Watched], bool],
    refused: set[str],
) -> tuple[LiveCounters, Watched]:
    watched = Watched()

    async def main(rest_url: str) -> LiveCounters:
        async with exchange(kraken(refused)) as url:  # type: ignore[arg-type]
            return await run(
                "kraken", symbols, settings, endpoint=url, rest_endpoint=rest_url, options=QUICK, status_file=watched,
                until=lambda _counters: until(watched), duration_s=DEADLINE_S,
            )  # fmt: skip

    with market_lists.answering({**market_lists.KRAKEN, **rest}) as rest_url:
        return asyncio.run(main(rest_url)), watched


@pytest.fixture(autouse=True)
def through_ccxt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(REGISTRY, "kraken")


def test_what_is_not_listed_is_named_and_flows_when_it_is_listed_later(settings: Settings) -> None:
    pairs: dict[str, object] = {**market_lists.KRAKEN[PAIRS]["result"]}  # type: ignore[call-overload, index]
    later = pairs.pop("XDGUSD")
    states: list[str] = []

    def until(watched: Watched) -> bool:
        if watched.ends_with({"BTC/USD": "streaming", "DOGE/USD": "refused"}):
            states.append(watched.states[-1].troubles["symbols"])
            pairs["XDGUSD"] = later
        return bool(states) and watched.ends_with(dict.fromkeys(BOTH, "streaming"))

    counters, watched = produce(settings, BOTH, {PAIRS: lambda _query: {"error": [], "result": pairs}}, until, set())
    assert "DOGE/USD refused: kraken has no market 'DOGE/USD'" in states[0]
    assert watched.ends_with(dict.fromkeys(BOTH, "streaming"))
    assert watched.states[-1].troubles == {}
    assert counters.rotations == 1, "the stream was not replaced by one with both symbols"


def test_what_the_stream_refuses_is_named_and_the_other_flows(settings: Settings) -> None:
    wanted = {"BTC/USD": "streaming", "DOGE/USD": "refused"}
    counters, watched = produce(settings, BOTH, {}, lambda watched: watched.ends_with(wanted), {"DOGE/USD"})
    assert watched.ends_with(wanted)
    assert "Currency pair not supported DOGE/USD" in watched.states[-1].symbol_troubles["DOGE/USD"]
    assert counters.trades > 0


# Its sibling: test_what_is_not_listed_is_named_and_flows_when_it_is_listed_later.
@pytest.mark.nightly
def test_a_symbol_that_rest_refuses_keeps_no_other_from_being_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ccxt.pro

    monkeypatch.setattr(ccxt.pro, "exchanges", [name for name in ccxt.pro.exchanges if name != "kraken"])

    def trades(query: market_lists.Query) -> object:
        if query["pair"] == "XDGUSD":
            return {"error": ["EQuery:Unknown asset pair"]}
        rows = [["63000.1", "0.001", time.time(), "b", "l", "", time.time_ns()]]
        return {"error": [], "result": {"XXBTZUSD": rows, "last": "1"}}

    wanted = {"BTC/USD": "streaming", "DOGE/USD": "refused"}
    # The refused one is asked for first.
    symbols = [*reversed(BOTH)]
    counters, watched = produce(
        settings, symbols, {"/0/public/Trades": trades},
        lambda watched: watched.ends_with(wanted) and watched.states[-1].trades > 2, set(),
    )  # fmt: skip
    assert watched.ends_with(wanted)
    assert "Unknown asset pair" in watched.states[-1].symbol_troubles["DOGE/USD"]
    assert counters.trades > 2
