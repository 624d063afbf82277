"""Invariant: through ccxt, too, what is published are the exchange's trades in the exchange's own digits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from config.settings import Settings
from producers.ccxt import verbatim
from producers.ccxt.feed import MarketsMissingError, UnknownSymbolError
from producers.ccxt.rest_trades import RestTrades
from producers.counters import LiveCounters
from producers.exchanges import REGISTRY, UnknownExchangeError
from producers.exchanges.model import Rate, RestError, Trade
from producers.kafka import publisher as publisher_module
from producers.kafka.publisher import DeliveryError
from producers.live import run
from producers.options import ProducerOptions
from producers.simulator.server import Simulator
from producers.timestamps import event_time_us
from producers.venue_limits import VenueLimits
from tests.producers import market_lists
from tests.producers.conftest import RECORDED, played
from tests.producers.exchange import exchange
from tests.recorded import Recorded

DEADLINE_S = 40.0
FAST = ProducerOptions(
    back_off_s=0.05, healthy_after_s=0.0, close_s=0.2, heal_after_s=0.05, audit_s=0.3, breaker_open_s=0.3,
    requests=Rate(100, 1.0),
)  # fmt: skip
BINANCE = market_lists.binance(
    market_lists.binance_spot("BTCUSDT", "BTC", "USDT"), market_lists.binance_spot("ETHUSDT", "ETH", "USDT")
)


@dataclass(frozen=True)
class Venue:
    """A ccxt exchange whose protocol the simulator speaks: its name there, its market list, how it writes symbols."""

    name: str
    simulated: str
    answers: Mapping[str, object]
    symbols: Mapping[str, str]


VENUES = {
    "binance": Venue(
        "binanceus", "binance", {"/api/v3/exchangeInfo": BINANCE}, {"BTCUSDT": "BTC/USDT", "ETHUSDT": "ETH/USDT"}
    ),
    "kraken": Venue("kraken", "kraken", market_lists.KRAKEN, {}),
    "bybit_linear": Venue(
        "bybit",
        "bybit_linear",
        {"/v5/market/instruments-info": market_lists.bybit},
        {f"{base}USDT": f"{base}/USDT:USDT" for base in ("BTC", "ETH", "SOL", "DOGE")},
    ),
    "okx": Venue(
        "myokx",
        "okx",
        {"/api/v5/public/instruments": market_lists.okx},
        {"BTC-USDT": "BTC/USDT", "UNI-USD-SWAP": "UNI/USD:UNI", "BTC-USD-220527": "BTC/USD:BTC-220527"},
    ),
}
PLAYED = [one for one in RECORDED if one.code in VENUES and not one.name.startswith("binance_spot_all_streams")]


def code_of(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its code, without the module of ours that it may have."""
    monkeypatch.delitem(REGISTRY, venue.name, raising=False)
    return venue.name


@pytest.mark.parametrize("recorded", played(PLAYED))
def test_a_recording_read_by_ccxt_is_published_digit_for_digit(
    recorded: Recorded,
    settings: Settings,
    consume: Callable[[str], list[Message]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    venue, expected = VENUES[recorded.code], recorded.trades()
    total = len(recorded.frames().trades)
    unified = {name: venue.symbols.get(name, name) for name in expected["symbol"].unique().to_list()}

    async def main(rest: str) -> LiveCounters:
        simulator = Simulator({venue.simulated: recorded.path}, wait_for_subscribers=True)
        port = await simulator.start()
        counters = await run(
            code_of(venue, monkeypatch), sorted(unified.values()), settings, options=ProducerOptions(),
            endpoint=f"ws://127.0.0.1:{port}/{venue.simulated}", rest_endpoint=rest,
            until=lambda counters: counters.trades >= total, duration_s=DEADLINE_S,
        )  # fmt: skip
        await simulator.close()
        return counters

    with market_lists.answering(venue.answers) as rest:
        counters = asyncio.run(main(rest))
    assert (counters.trades, counters.unrecognised, counters.disconnects.total()) == (total, 0, 0)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic(venue.name))]
    assert len(values) == total
    got = {
        (value["symbol"], value["trade_id"]): (value["price"], value["quantity"], value["side"], value["timestamp"])
        for value in values
    }
    # ccxt knows ms.
    assert got == {
        (unified[row["symbol"]], row["trade_id"]): (
            row["price"], row["qty"], row["side"], str(int(row["trade_time_ns"]) // 1_000_000)
        )
        for row in expected.iter_rows(named=True)
    }  # fmt: skip
    frames = recorded.text()
    assert all(value["payload"] in frames for value in values), "a payload is not the exchange's own characters"
    assert all(value["price"] in value["payload"] and value["trade_id"] in value["payload"] for value in values)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def containers(value: object) -> Iterator[object]:
    if isinstance(value, dict | list):
        yield value
        for child in value.values() if isinstance(value, dict) else value:
            yield from containers(child)


@given(json_values, st.sampled_from([None, 1]))
def test_the_slice_of_each_part_is_what_that_part_was_decoded_from(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    message = verbatim.decode(text)
    for part in containers(message):
        assert verbatim.decode(verbatim.slices(text, message, [part])[id(part)]) == part


@pytest.mark.parametrize(
    "token", ["0.00000024", "1.50", "1E-8", "100000000000000000000000000.10", "12345678901234567890"]
)
def test_a_number_keeps_its_characters(token: str) -> None:
    decoded = verbatim.decode(f'{{"p":{token}}}')
    assert isinstance(decoded, dict)
    assert str(decoded["p"]) == token


KRAKEN_TRADE = (
    '{{"symbol":"BTC/USD","side":"buy","price":63000.10,"qty":0.00100000,"ord_type":"limit","trade_id":{number},'
    '"timestamp":"2026-01-01T00:{minute:02d}:{second:02d}.000000Z"}}'
)


def kraken(*numbers: int) -> str:
    trades = ",".join(KRAKEN_TRADE.format(number=number, minute=number // 60, second=number % 60) for number in numbers)
    return f'{{"channel":"trade","type":"update","data":[{trades}]}}'


def kraken_rest(numbers: range) -> Callable[[market_lists.Query], bytes]:
    def answer(query: market_lists.Query) -> bytes:
        since = int(query.get("since", "0"))
        rows = ",".join(
            f'["63000.10","0.00100000",{1_767_225_600 + number}.0000000,"b","l","",{number}]'
            for number in numbers
            if 1_767_225_600 + number >= since
        )
        return f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"1767225600000000000"}}}}'.encode()

    return answer


async def talk(connection: ServerConnection, *frames: str | bytes) -> None:
    """Answers pings and sends the frames once the client has subscribed; ends with the connection."""
    with contextlib.suppress(Exception):
        async for message in connection:
            if json.loads(message).get("method") == "subscribe":
                for frame in frames:
                    await connection.send(frame)


def run_kraken(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    behave: Callable[[ServerConnection, int], object],
    until: Callable[[LiveCounters], bool],
    rest: Mapping[str, object] | None = None,
    options: ProducerOptions = FAST,
    flush_s: float = 30.0,
) -> LiveCounters:
    monkeypatch.delitem(REGISTRY, "kraken")

    async def main(rest_url: str) -> LiveCounters:
        async with exchange(behave) as url:  # type: ignore[arg-type]
            return await run(
                "kraken", ["BTC/USD"], settings, endpoint=url, rest_endpoint=rest_url, options=options, until=until,
                duration_s=DEADLINE_S, flush_s=flush_s,
            )  # fmt: skip

    with market_lists.answering({**market_lists.KRAKEN, **(rest or {})}) as rest_url:
        return asyncio.run(main(rest_url))


def ids(settings: Settings, consume: Callable[[str], list[Message]]) -> list[int]:
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("kraken"))]
    return sorted(int(value["trade_id"]) for value in values if value["trade_id"])


def test_a_lost_connection_comes_back_and_rest_brings_what_was_missed(
    settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behave(connection: ServerConnection, number: int) -> None:
        if number == 1:
            async for message in connection:
                if json.loads(message).get("method") == "subscribe":
                    await connection.send(kraken(1, 2))
                    connection.transport.abort()
        else:
            await talk(connection, kraken(8, 9))

    counters = run_kraken(
        settings, monkeypatch, behave, lambda counters: counters.gaps.healed >= 5,
        {"/0/public/Trades": kraken_rest(range(1, 10))},
    )  # fmt: skip
    assert counters.connections == 2
    assert counters.disconnects.total() >= 1
    assert (counters.gaps.found, counters.gaps.healed, counters.gaps.unfillable) == (5, 5, 0)
    assert ids(settings, consume) == [*range(1, 10)]


def test_rest_that_numbers_trades_otherwise_is_not_believed(
    settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def other(query: market_lists.Query) -> bytes:
        nonlocal asked
        asked += 1
        return kraken_rest(range(30, 40))(query)

    counters = run_kraken(
        settings, monkeypatch, lambda connection, _number: talk(connection, kraken(1, 2), kraken(50)),
        lambda _counters: asked >= 2, {"/0/public/Trades": other},
    )  # fmt: skip
    assert (counters.trades, counters.gaps.found) == (3, 0)
    assert ids(settings, consume) == [1, 2, 50]


def test_frames_that_ccxt_cannot_read_go_to_the_dlq_and_the_next_trade_goes_through(
    settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = ('{"channel":"trade",', '{"channel":"trade","data":[{"symbol":5}]}')
    counters = run_kraken(
        settings, monkeypatch, lambda connection, _number: talk(connection, *bad, kraken(3)),
        lambda counters: counters.trades >= 1,
    )  # fmt: skip
    assert (counters.trades, counters.disconnects.total()) == (1, 0)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("kraken"))]
    assert sorted(value["payload"] for value in values if not value["trade_id"]) == sorted(bad)[: counters.unrecognised]
    assert counters.unrecognised >= 1


def test_an_exchange_that_goes_silent_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = run_kraken(
        settings, monkeypatch, lambda connection, number: talk(connection, kraken(number)),
        lambda counters: counters.trades >= 2, options=ProducerOptions(back_off_s=0.05, idle_s=0.5, close_s=0.2),
    )  # fmt: skip
    assert counters.connections >= 2
    assert counters.disconnects["RequestTimeout"] >= 1


def test_a_connection_is_replaced_before_its_end_of_life_by_one_that_is_subscribed_before_the_old_one_closes(
    settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trade goes to all who are connected, and REST is not there to heal anything."""
    subscribed: list[ServerConnection] = []
    others_open: list[int] = []
    traded = 0

    async def behave(connection: ServerConnection, number: int) -> None:
        nonlocal traded
        async for message in connection:
            if json.loads(message).get("method") == "subscribe":
                break
        others_open.append(len(subscribed))
        subscribed.append(connection)
        while connection.state is State.OPEN:
            if connection is subscribed[0]:
                traded += 1
                for one in [*subscribed]:
                    with contextlib.suppress(ConnectionClosed):
                        await one.send(kraken(traded))
            await asyncio.sleep(0.05)
        subscribed.remove(connection)

    options = ProducerOptions(
        back_off_s=0.05, close_s=0.2, lifetime_s=1.0, early_s=0.5, audit_s=60.0, ready_s=60.0, healthy_after_s=0.0
    )
    counters = run_kraken(
        settings, monkeypatch, behave, lambda counters: counters.rotations >= 3, options=options
    )  # fmt: skip
    assert counters.rotations >= 2
    assert counters.disconnects.total() == 0
    assert others_open[:4] == [0, 1, 1, 1]
    published = ids(settings, consume)
    assert {*range(1, max(published) + 1)} == {*published}


def test_a_quiet_symbol_does_not_keep_a_connection_from_being_ready_and_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ProducerOptions(close_s=0.2, lifetime_s=1.0, early_s=0.5, audit_s=60.0, ready_s=0.3)
    counters = run_kraken(
        settings, monkeypatch, lambda connection, _number: talk(connection), lambda counters: counters.rotations >= 2,
        options=options,
    )  # fmt: skip
    assert (counters.rotations >= 2, counters.trades, counters.disconnects.total()) == (True, 0, 0)


def test_an_exchange_without_a_stream_is_asked_again_and_again(
    settings: Settings, consume: Callable[[str], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look sees ten trades of which the last ones are new; none is published twice."""
    import ccxt.pro

    monkeypatch.setattr(ccxt.pro, "exchanges", [name for name in ccxt.pro.exchanges if name != "kraken"])
    look = 0

    def newest(query: market_lists.Query) -> bytes:
        nonlocal look
        look += 1
        return kraken_rest(range(look * 4, look * 4 + 10))(query)

    async def nobody(connection: ServerConnection, number: int) -> None:
        raise AssertionError("nothing to connect to")

    counters = run_kraken(
        settings, monkeypatch, nobody, lambda counters: counters.trades >= 18, {"/0/public/Trades": newest}
    )
    published = ids(settings, consume)
    assert published == [*range(published[0], published[0] + len(published))]
    assert counters.trades == counters.published == len(published)
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("kraken"))]
    assert {(value["price"], value["quantity"], value["symbol"]) for value in values} == {
        ("63000.10", "0.00100000", "BTC/USD")
    }
    assert all(value["payload"].endswith(f",{value['trade_id']}]") for value in values)


def test_a_broker_that_takes_nothing_stops_ccxt_s_reading_and_hides_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "_BUFFER_MESSAGES", 50)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Settings(kafka_bootstrap_servers=f"127.0.0.1:{free.getsockname()[1]}")
    sent = 0
    pad = f',"pad":"{"x" * 100_000}"}}'
    counted: list[LiveCounters] = []

    async def behave(connection: ServerConnection, number: int) -> None:
        nonlocal sent
        async for message in connection:
            if json.loads(message).get("method") == "subscribe":
                break
        while True:
            sent += 1
            await connection.send(kraken(sent % 60)[:-1] + pad)

    quiet = 0
    before = -1

    def until(counters: LiveCounters) -> bool:
        """The exchange could send nothing for two seconds."""
        nonlocal quiet, before
        counted.append(counters)
        quiet = quiet + 1 if sent and sent == before else 0
        before = sent
        return quiet > 8

    options = ProducerOptions(back_off_s=0.05, audit_s=60.0)
    with pytest.raises(
        DeliveryError, match=r"50 of 50 messages were not acknowledged.*Not delivered: kraken BTC/USD \d+"
    ):
        run_kraken(nobody, monkeypatch, behave, until, options=options, flush_s=0.5)
    counters = counted[-1]
    assert counters.published == 50
    assert counters.undelivered == counters.trades - 50 > 0
    # The buffer, the frames read ahead, and what fits into sockets.
    assert sent < 1_000


def test_what_cannot_be_produced_says_what_to_do(settings: Settings) -> None:
    def start(code: str, symbol: str, rest: str | None) -> None:
        asyncio.run(run(code, [symbol], settings, endpoint="ws://127.0.0.1:9", rest_endpoint=rest, options=FAST))

    with pytest.raises(UnknownExchangeError, match=r"mtgox.*ccxt"):
        start("mtgox", "X", None)
    with pytest.raises(MarketsMissingError, match=r"--rest-endpoint.*--markets"):
        start("binanceus", "BTC/USDT", None)
    with (
        market_lists.answering(VENUES["binance"].answers) as rest,
        pytest.raises(UnknownSymbolError, match=r"'BTCUSDT'.*BTC/USDT"),
    ):
        start("binanceus", "BTCUSDT", rest)


def test_time_of_the_trade_is_read_as_milliseconds() -> None:
    assert event_time_us("1767225600123") == 1_767_225_600_123_000


def test_a_recording_of_each_venue_is_there() -> None:
    assert {one.code for one in PLAYED} == set(VENUES)


class Answers:
    """What `RestTrades` asks of a ccxt class; each answer is a list of trade ids, one second apart."""

    family = ""

    def __init__(self, *ids: range) -> None:
        self._ids = [*ids]

    def forget_answer(self) -> None:
        """Nothing of an answer is kept here."""

    async def fetch_trades(self, symbol: str, since: int | None, params: object) -> list[dict[str, Any]]:
        return [{"id": str(number), "timestamp": number * 1_000} for number in self._ids.pop(0)]

    def answered(self, rows: list[dict[str, Any]]) -> tuple[bytes, list[Trade]]:
        return b"", [Trade("X", row["id"], "1", "1", str(row["timestamp"]), "BUY", "", "{}") for row in rows]


def test_an_answer_that_overlaps_only_with_what_rest_brought_before_is_believed() -> None:
    async def main() -> None:
        rate = Rate(100, 1.0)
        answers = Answers(range(5, 20), range(15, 30), range(90, 99))
        rest = RestTrades("x", answers, VenueLimits("x", rate, rate, failures=5, open_s=1.0))
        rest.streamed(answers.answered([{"id": "5", "timestamp": 5_000}])[1])
        assert len(await rest.newest("X")) == 15
        assert len(await rest.newest("X")) == 15
        with pytest.raises(RestError, match="their ids differ"):
            await rest.newest("X")

    asyncio.run(main())
