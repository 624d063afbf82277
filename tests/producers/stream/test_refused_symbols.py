"""Invariant: a symbol that an exchange refuses, in whatever way, is named and stops no other."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY as METRICS
from websockets.asyncio.server import ServerConnection

from cli.common.context import out
from cli.stack import producing
from config.settings import Settings
from producers.counters import LiveCounters
from producers.exchanges import REGISTRY, exchange
from producers.exchanges.model import ACK, ERROR, Control, Exchange, Rate, SubscriptionAnswer
from producers.live import run
from producers.options import ProducerOptions
from producers.simulator.server import Simulator
from producers.simulator.synthetic import RandomWalk
from producers.status import ProducerState, StatusFile
from producers.stream.subscriptions import Refusal, Subscriptions, SubscriptionTimeouts
from producers.stream.symbol_states import SymbolState, SymbolStatuses
from tests.producers.exchange import exchange as fake_exchange
from tests.producers.exchange import trade

DEADLINE_S = 40.0
QUICK = ProducerOptions(
    back_off_s=0.1, healthy_after_s=0.0, close_s=0.2, answer_s=1.0, refused_s=0.5, quiet_s=0.3, heal_after_s=0.05,
    requests=Rate(100, 1.0),
)  # fmt: skip
GOOD = {
    "binance": ["BTCUSDT", "ETHUSDT"],
    "kraken": ["BTC/USD", "ETH/USD"],
    "bybit": ["BTCUSDT", "ETHUSDT"],
    "okx": ["BTC-USDT", "ETH-USDT"],
    "coinbase": ["BTC-USD", "ETH-USD"],
}
BAD = {"binance": "GONEUSDT", "kraken": "GONE/USD", "bybit": "GONEUSDT", "okx": "GONE-USDT", "coinbase": "GONE-USD"}


class Watched(StatusFile):
    """Keeps the last state instead of a file."""

    def __init__(self) -> None:
        self.state: ProducerState | None = None

    def show(self, state: ProducerState) -> None:
        self.state = state

    def end(self) -> None:
        """Nothing to remove."""


@dataclass
class Seen:
    """What a run showed."""

    states: list[ProducerState] = field(default_factory=list)

    def until(self, watched: Watched, wanted: dict[str, str], _counters: LiveCounters) -> bool:
        if watched.state is not None and (not self.states or watched.state is not self.states[-1]):
            self.states.append(watched.state)
        return bool(self.states) and self.states[-1].symbol_states == wanted


@pytest.mark.parametrize("code", ["binance", "kraken", "bybit", "okx", "coinbase"])
def test_the_others_flow_and_the_refused_one_is_shown_in_the_exchange_s_words(code: str, settings: Settings) -> None:
    good, bad = GOOD[code], BAD[code]
    # In the middle: what comes after it must flow as well.
    symbols = [good[0], bad, good[1]]
    wanted = {good[0]: "streaming", bad: "refused", good[1]: "streaming"}
    # Binance acknowledges what it does not have; its REST interface refuses it.
    asks_rest = code == "binance"

    async def main() -> tuple[LiveCounters, Seen]:
        simulator = Simulator({code: RandomWalk(good, rate=50)}, speed=1.0, refused={code: {bad}})
        port = await simulator.start()
        watched, seen = Watched(), Seen()
        try:
            return await run(
                code, symbols, settings, endpoint=f"ws://127.0.0.1:{port}/{code}/stream", options=QUICK,
                rest_endpoint=f"http://127.0.0.1:{port}/{code}/rest" if asks_rest else None,
                status_file=watched, until=partial(seen.until, watched, wanted), duration_s=DEADLINE_S,
            ), seen  # fmt: skip
        finally:
            await simulator.close()

    counters, seen = asyncio.run(main())
    state = seen.states[-1]
    assert state.symbol_states == wanted
    assert counters.trades > 0
    words = {"binance": "Invalid symbol.", "kraken": f"not supported {bad}", "bybit": f"publicTrade.{bad}",
             "okx": f"instId:{bad} doesn't exist", "coinbase": f"{bad} is not a valid product"}  # fmt: skip
    assert words[code] in state.symbol_troubles[bad]
    assert f"{bad} refused: " in state.troubles["symbols"]
    assert [*state.symbol_troubles] == [bad]
    assert (state.connections, state.wanted_connections) == (1, 1), "a refused symbol keeps it from being ready"
    labels = {"exchange": code, "symbol": bad, "state": "refused"}
    assert METRICS.get_sample_value("medallion_producer_symbol_trouble", labels) == 1
    counted = {"exchange": code, "state": "streaming"}
    assert METRICS.get_sample_value("medallion_producer_symbols", counted) == 2


@pytest.mark.parametrize("width", [80, 160])
def test_status_names_the_symbol_and_the_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(out, "width", width)
    state = ProducerState(
        "kraken", ["BTC/USD", "NOPE/USD"], 1, "b", time.time(), time.time(), 1, {},
        {"symbols": "NOPE/USD refused: Currency pair not supported NOPE/USD"}, 1, 1, 0, 0, 0,
        symbol_states={"BTC/USD": "streaming", "NOPE/USD": "refused"}, wanted_connections=1,
    )  # fmt: skip
    producing.print_producers([state])
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "kraken 1 1 of 1 1 streaming, 1 refused" in shown or "symbols 1 streaming, 1 refused" in shown
    assert "kraken (pid 1): NOPE/USD refused: Currency pair not supported NOPE/USD" in shown
    assert producing.troubles(state)
    assert producing.as_json([state])[0]["symbol_states"] == {"BTC/USD": "streaming", "NOPE/USD": "refused"}
    # Of a producer that is older than the symbols' states.
    old = msgspec.json.encode({name: value for name, value in msgspec.to_builtins(state).items()
                               if not name.startswith("symbol_")})  # fmt: skip
    assert msgspec.json.decode(old, type=ProducerState).symbol_states == {}


def test_a_symbol_that_is_listed_later_flows_without_a_restart(settings: Settings) -> None:
    refused = {"GONE/USD"}

    async def main() -> tuple[Seen, LiveCounters]:
        simulator = Simulator(
            {"kraken": RandomWalk(["BTC/USD", "GONE/USD"], rate=50)}, speed=1.0, refused={"kraken": refused}
        )
        port = await simulator.start()
        watched, seen = Watched(), Seen()
        both = {"BTC/USD": "streaming", "GONE/USD": "streaming"}

        def until(counters: LiveCounters) -> bool:
            if watched.state is not None and watched.state.symbol_states.get("GONE/USD") == "refused":
                refused.clear()
            return seen.until(watched, both, counters)

        try:
            counters = await run(
                "kraken", ["BTC/USD", "GONE/USD"], settings, endpoint=f"ws://127.0.0.1:{port}/kraken", options=QUICK,
                status_file=watched, until=until, duration_s=DEADLINE_S,
            )  # fmt: skip
            return seen, counters
        finally:
            await simulator.close()

    seen, counters = asyncio.run(main())
    assert [state.symbol_states["GONE/USD"] for state in seen.states][-1] == "streaming"
    assert "refused" in {state.symbol_states["GONE/USD"] for state in seen.states}
    assert seen.states[-1].troubles == {}
    assert counters.connections == 1


def test_an_exchange_that_answers_nothing_is_named_and_asked_again(settings: Settings) -> None:
    asked: list[list[str]] = []

    async def behave(connection: ServerConnection, number: int) -> None:
        async def talk() -> None:
            async for message in connection:
                asked.append(json.loads(message)["params"])

        talking = asyncio.ensure_future(talk())
        while not asked:
            await asyncio.sleep(0.01)
        while True:
            await connection.send(trade(number))
            await asyncio.sleep(0.02)
            if talking.done():
                return

    async def main() -> Seen:
        watched, seen = Watched(), Seen()
        async with fake_exchange(behave) as url:

            def until(counters: LiveCounters) -> bool:
                seen.until(watched, {}, counters)
                return ["mute@trade"] in asked and "symbols" in (seen.states or [None])[-1].troubles  # type: ignore[union-attr]

            options = ProducerOptions(answer_s=0.2, refused_s=60.0, ready_s=0.2)
            await run(
                "binance", ["BTCUSDT", "MUTE"], settings, endpoint=url, options=options,
                status_file=watched, until=until, duration_s=DEADLINE_S,
            )  # fmt: skip
        return seen

    seen = asyncio.run(main())
    assert asked[:2] == [["btcusdt@trade", "mute@trade"], ["mute@trade"]]
    assert seen.states[-1].symbol_states == {"BTCUSDT": "streaming", "MUTE": "subscribing"}
    assert "MUTE subscribing: no answer to its subscription within 0.2 s" in seen.states[-1].troubles["symbols"]
    assert seen.states[-1].connections == 1


# The ways in which exchanges refuse, as a model: which answers a message of symbols gets.
WAYS = ("each", "whole, named", "whole, unnamed", "whole, echoed", "whole, silent", "whole, connection's number")


def answers(way: str, symbols: Sequence[str], number: int, bad: Collection[str]) -> list[Control]:
    wrong = [symbol for symbol in symbols if symbol in bad]
    if way == "each":
        return [
            Control(ERROR, SubscriptionAnswer((symbol,), None, "no"))
            if symbol in bad
            else Control(ACK, SubscriptionAnswer((symbol,)))
            for symbol in symbols
        ]
    if not wrong:
        return [Control(ACK, SubscriptionAnswer(None, number if way.endswith("number") else None))]
    if way == "whole, silent":
        return []
    words = {"whole, named": f"topic:t.{wrong[0]}", "whole, echoed": f"invalid {{{','.join(symbols)}}}"}
    return [Control(ERROR, SubscriptionAnswer(None, number if way.endswith("number") else None, words.get(way, "no")))]


@given(
    way=st.sampled_from(WAYS),
    count=st.integers(1, 25),
    bad=st.sets(st.integers(0, 24), max_size=6),
    at_once=st.booleans(),
)
def test_every_good_symbol_is_taken_and_only_bad_ones_are_refused(
    way: str, count: int, bad: set[int], at_once: bool
) -> None:
    # One name is the beginning of another.
    symbols = [f"S{number}" for number in range(count)]
    wrong = {f"S{number}" for number in bad if number < count}
    known = exchange_that(answers_each=way == "each")
    statuses = SymbolStatuses(symbols, 300.0)
    refusals: dict[str, Refusal] = {}
    talk = Subscriptions(known, symbols, statuses, refusals, SubscriptionTimeouts(10.0, 300.0))
    # What is not answered costs the time that an answer is awaited for.
    end_s = 3_000.0 if way == "whole, silent" else 1_250.0
    sent = converse(talk, way, wrong, (1_000.0, end_s), at_once=at_once)
    states = {symbol: statuses.state(symbol) for symbol in symbols}
    assert {symbol for symbol, state in states.items() if state is SymbolState.ACKNOWLEDGED} == {*symbols} - wrong
    if way == "whole, silent":
        assert {symbol for symbol, one in statuses.now(end_s).items() if one.words} == wrong
    else:
        assert {symbol for symbol, state in states.items() if state is SymbolState.REFUSED} == wrong == refusals.keys()
    # Halving a message of ten takes at most four steps a symbol; and no hot loop.
    assert len(sent) <= 3 + 12 * len(wrong) + (12 * len(wrong) if way == "whole, silent" else 0)
    # Nothing is asked again before its time, then each alone.
    if way != "whole, silent":
        assert talk.due(end_s) == []
        again = converse(talk, way, wrong, (end_s, 1_560.0), at_once=at_once)
        assert sorted(again) == sorted(wrong)


def converse(
    talk: Subscriptions, way: str, bad: Collection[str], span_s: tuple[float, float], *, at_once: bool
) -> list[str]:
    """The symbols of each message sent, with commas; answers come message by message, or to all `at_once`."""
    now_s, sent = span_s[0], []
    while now_s < span_s[1]:
        replies: list[Control] = []
        for message in talk.due(now_s):
            number, _, names = message.partition(" ")
            sent.append(names)
            replies += answers(way, names.split(","), int(number), bad)
            while replies and not at_once:
                talk.handle(replies.pop(0), now_s)
        for reply in replies:
            talk.handle(reply, now_s)
        now_s += 5.0
    return sent


def exchange_that(*, answers_each: bool) -> Exchange:
    def subscribe(symbols: Sequence[str], number: int) -> str:
        return f"{number} {','.join(symbols)}"

    return Exchange("x", "", exchange("binance").parse, subscribe, symbols_a_message=10,
                    answers_each_symbol=answers_each)  # fmt: skip


def test_a_new_connection_does_not_ask_the_others_again_for_a_symbol_that_is_refused() -> None:
    known, statuses = exchange_that(answers_each=False), SymbolStatuses(["A", "B"], 300.0)
    talk = Subscriptions(known, ["A", "B"], statuses, {"B": Refusal("no", 500.0)}, SubscriptionTimeouts(10.0, 300.0))
    assert talk.due(100.0) == ["1 A"]
    talk.handle(Control(ACK, SubscriptionAnswer()), 100.0)
    assert talk.is_answered
    assert statuses.now(100.0)["B"].words == "no"
    assert talk.due(501.0) == ["2 B"]
    assert talk.handle(Control(ACK, SubscriptionAnswer()), 501.0) == ["B"], (
        "nobody is told that its trades flow from now on"
    )


def test_already_subscribed_is_a_yes() -> None:
    frame = b'{"success":false,"ret_msg":"error:already subscribed,topic:publicTrade.A","op":"subscribe","req_id":"1"}'
    known = REGISTRY["bybit"]
    statuses = SymbolStatuses(["A", "B"], 300.0)
    talk = Subscriptions(known, ["A", "B"], statuses, {}, SubscriptionTimeouts(10.0, 300.0))
    assert len(talk.due(0.0)) == 1
    talk.handle(known.parse(frame), 0.0)
    assert statuses.state("A") is SymbolState.ACKNOWLEDGED
    assert [json.loads(message)["args"] for message in talk.due(0.0)] == [["publicTrade.B"]]


def test_a_symbol_without_a_trade_for_long_is_silent_and_no_trouble() -> None:
    statuses = SymbolStatuses(["A"], 300.0)
    statuses.acknowledged("A", 100.0)
    assert statuses.now(399.0)["A"].state is SymbolState.ACKNOWLEDGED
    assert statuses.now(401.0)["A"].state is SymbolState.SILENT
    assert statuses.now(401.0)["A"].words == ""


def test_the_rest_of_a_refused_message_is_asked_for_at_once() -> None:
    known, statuses = exchange_that(answers_each=False), SymbolStatuses(["A", "B", "C"], 300.0)
    talk = Subscriptions(known, ["A", "B", "C"], statuses, {}, SubscriptionTimeouts(10.0, 300.0))
    assert talk.due(0.0) == ["1 A,B,C"]
    talk.handle(Control(ERROR, SubscriptionAnswer(words="unknown topic t.B")), 0.0)
    assert talk.due(0.0) == ["2 A,C"]
    assert statuses.state("B") is SymbolState.REFUSED
