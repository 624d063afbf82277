"""What a replay may ask for, and how its window is cut in pieces."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from typing import IO, Any, cast

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from config.settings import Settings
from serving.errors import ApiError, unavailable
from serving.guard import HANDLERS, Guard
from serving.market_data.markets import Markets
from serving.replay.as_exchange import _together
from serving.replay.endpoint import ReplayApi
from serving.replay.options import Window, read_options
from serving.replay.side import RecordedTrade
from serving.replay.slots import Slots
from serving.replay.source import Plan, RawSource, pieces
from tests.serving.running import served

MARKETS = Markets(Settings().symbols_file)
DAY = {"exchange": "kraken", "from": "2026-01-05", "to": "2026-01-06"}


def read(**given_: Any) -> Window:
    return read_options(json.dumps(DAY | given_), MARKETS)


@pytest.mark.parametrize("text", ["2026-01-05T10:30:00.5Z", "2026-01-05 10:30:00.5", "2026-01-05T12:30:00.500+02:00"])
def test_times_are_read_as_tardis_reads_them(text: str) -> None:
    moment = datetime(2026, 1, 5, 10, 30, 0, 500_000, UTC)
    assert read(**{"from": text}).from_us == int(moment.timestamp() * 1_000_000)


def test_a_market_has_any_of_its_names_and_several_filters_add_up() -> None:
    both = [{"channel": "trade", "symbols": ["BTCUSD"]}, {"channel": "trade", "symbols": ["eth/usd"]}]
    assert set(read(filters=both).spellings) >= {"BTC/USD", "ETH/USD"}
    assert read(filters=[*both, {"channel": "trade"}]).spellings == ()
    assert read(filters=[]).spellings == ()


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ({"exchange": "nosuch"}, -1130, "kraken"),
        ({"from": "sdf"}, -1130, "from"),
        ({"from": "1969-12-31"}, -1130, "from"),
        ({"to": "9999-12-31T23:59:59-23:59"}, -1130, "to"),
        ({"to": "2026-01-05"}, -1130, "before"),
        ({"to": "2026-01-06T00:00:01"}, -1130, "24 hours"),
        ({"filters": [{"channel": "depth"}]}, -1130, "only trades"),
        ({"filters": [{"channel": "trade", "symbols": ["NOSUCH"]}]}, -1121, "NOSUCH"),
        ({"filters": "trade"}, -1100, "filters"),
        ({"withDisconnects": True}, -1130, "X-Medallion-Missing"),
        ({"pin": "a.b; DROP"}, -1130, "pin"),
        ({"skipDecoding": True}, -1100, "skipDecoding"),
    ],
)
def test_what_cannot_be_replayed_is_refused_by_name(options: dict[str, Any], code: int, word: str) -> None:
    with pytest.raises(ApiError, match=word) as refused:
        read(**options)
    assert refused.value.code == code


def test_deep_json_is_refused_in_a_request_and_left_out_of_raw() -> None:
    with pytest.raises(ApiError, match="options") as refused:
        read_options("[" * 200_000, MARKETS)
    assert refused.value.code == -1100

    async def answers() -> AsyncIterator[IO[bytes]]:
        yield io.BytesIO(b'{"more":' + b"[" * 200_000 + b"\n")

    async def found() -> list[list[RecordedTrade]]:
        return [together async for together in _together(answers())]

    assert asyncio.run(found()) == []


class Source:
    """Answers one block, and then what ClickHouse answers when it is gone."""

    async def plan(self, window: Window, now_us: int) -> Plan:
        return Plan(window, {}, 2, (), ())

    async def blocks(self, plan: Plan) -> AsyncIterator[bytes]:
        yield b"{}\n"
        raise unavailable()


def test_a_replay_that_fails_half_way_breaks_off_and_leaves_the_next_one_its_place() -> None:
    api = ReplayApi(cast(RawSource, Source()), MARKETS, Slots(is_open=True))
    app = Guard(Starlette(routes=[Route("/replay", api.replay)], exception_handlers=HANDLERS), "")
    with served(app) as url:
        for _ in range(3):  # more than run at a time
            answer = requests.get(f"{url}/replay", params={"options": json.dumps(DAY)}, stream=True, timeout=30)
            assert answer.status_code == 200
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(answer.iter_lines())


class Planning:
    """Plans when it is told to; its window lacks a market whose name no header can hold as it is."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    async def plan(self, window: Window, now_us: int) -> Plan:
        await asyncio.to_thread(self.may_end.wait)
        return Plan(window, {}, 0, (), ("币安人生USDT: open gap.",))

    async def blocks(self, plan: Plan) -> AsyncIterator[bytes]:
        return
        yield b""


def test_two_replays_at_a_time_from_their_planning_on() -> None:
    source = Planning()
    api = ReplayApi(cast(RawSource, source), MARKETS, Slots(is_open=True))
    app = Guard(Starlette(routes=[Route("/replay", api.replay)], exception_handlers=HANDLERS), "")
    with served(app) as url, ThreadPoolExecutor(5) as clients:

        def ask() -> requests.Response:
            return requests.get(f"{url}/replay", params={"options": json.dumps(DAY)}, timeout=30)

        asked = [clients.submit(ask) for _ in range(5)]
        refused = [answer.result() for answer in itertools.islice(as_completed(asked), 3)]
        assert [answer.status_code for answer in refused] == [429] * 3
        source.may_end.set()
        answers = [answer.result() for answer in asked if answer.result().status_code != 429]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert json.loads(answers[0].headers["X-Medallion-Missing"]) == ["币安人生USDT: open gap."]
        assert ask().status_code == 200


def test_a_quiet_day_is_cut_in_time_in_proportion_to_its_length() -> None:
    seconds = [{"second": n, "messages": 1, "first_ingested": n, "last_ingested": n} for n in range(86_400)]
    assert len(pieces(Window("kraken", 0, 86_400_000_000), seconds)) == 5


@given(st.dictionaries(st.integers(0, 86_399), st.integers(1, 120_000), max_size=40), st.integers(1, 999_999))
def test_pieces_cover_every_second_once_and_are_no_larger_than_they_must(counts: dict[int, int], part: int) -> None:
    window = Window("kraken", part, 86_400_000_000)
    seconds = [
        {"second": second, "messages": count, "first_ingested": second, "last_ingested": second + 1}
        for second, count in sorted(counts.items())
    ]
    found = pieces(window, seconds)
    covered = []
    for piece in found:
        inside = [row for row in seconds if piece.from_us < row["second"] * 1_000_000 + 999_999 < piece.to_us]
        covered += inside
        assert sum(row["messages"] for row in inside[:-1]) < 20_000
        assert (piece.first_us, piece.last_us) == (inside[0]["second"], inside[-1]["second"] + 1)
    assert covered == seconds
    assert all(window.from_us <= piece.from_us < piece.to_us <= window.to_us for piece in found)
