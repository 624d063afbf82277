"""Invariant: bars of shares are stored as the provider sent them and in full, and its faults stop nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from config.errors import MedallionError
from config.registry import SymbolRegistry
from config.settings import Settings
from producers.rest.bounded import ANSWER_BYTES
from series.answer import UNREADABLE
from series.declaration import series_named
from series.errors import SeriesError
from series.providers.equity_bars import EquityBars, OtherShapeError
from series.providers.model import ProviderError, Question
from series.quality.check import stored_markets
from series.questions import open_provider, questions_of
from series.run import RunReport, SeriesRun
from series.store import SeriesStore
from tests.clickhouse import ENVIRONMENT
from tests.offload.hot_tables import HotTables
from tests.series.shares import KEYS, NAMES, NEW_YORK, Bar, Market, bar, provider, question, reader, session
from tests.series.venue import Reply, answering

# Found, not imported: every worker collects this file, and one runs it.
if any(find_spec(library) is None for library in ("massive", "alpaca", "yfinance")):
    pytest.skip("the extra medallion[equities] is not installed", allow_module_level=True)

# Thursday to Tuesday, of which Yahoo serves minutes.
_TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST = next(day for day in (_TODAY - timedelta(days=back) for back in range(12, 20)) if day.weekday() == 3)
DAYS = [(FIRST + timedelta(days=number)).date() for number in (0, 1, 4, 5)]
END = FIRST + timedelta(days=6)
TAPE = list(chain.from_iterable(session(day) for day in DAYS))
HTML = b"<html><body>Will be right back</body></html>"


def fast(*names: str) -> list[Any]:
    """All providers, those that are not named by night: what holds them is the same code, or a test of their reader."""
    return [pytest.param(name, marks=() if name in names else pytest.mark.nightly) for name in NAMES]


@pytest.fixture(autouse=True, scope="module")
def no_cookies_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    import yfinance

    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yahoo")))


def run(store: SeriesStore, name: str, base: str, *questions: Question, again: bool = True) -> RunReport:
    async def all_of_it() -> RunReport:
        asked = provider(name, base)
        try:
            return await SeriesRun(store, asked, 2).run(questions, again=again, progress=lambda _: None)
        finally:
            await asked.close()

    return asyncio.run(all_of_it())


def in_order(bars: list[Bar], name: str) -> list[tuple[object, ...]]:
    return [
        (one.seconds, *map(Decimal, (one.open, one.high, one.low, one.close, one.volume)), trades(one, name))
        for one in bars
    ]


def trades(one: Bar, name: str) -> int | None:
    return None if name == "yahoo" else int(one.trades)


def stored(hot: HotTables, symbol: str) -> list[tuple[object, ...]]:
    found = hot.client.query(
        "SELECT toUnixTimestamp64Second(window_start), open, high, low, close, volume, trade_count FROM bars_exact"
        " WHERE symbol = {symbol:String} ORDER BY window_start",
        parameters={"symbol": symbol},
    )
    return [tuple(row) for row in found.result_rows]


@pytest.mark.parametrize("name", NAMES)
def test_every_bar_of_the_span_is_stored_digit_for_digit(name: str, store: SeriesStore, hot: HotTables) -> None:
    """Two symbols over several pages and a weekend. What is stored in full is not asked for again."""
    market = Market(name, {"AAPL": TAPE, "BRK.B": TAPE[100:]})
    asked = [question(name, symbol, FIRST, END) for symbol in market.bars]
    with answering({}, market) as url:
        report = run(store, name, url, *asked)
        assert (report.failures, report.total("rejected")) == ([], 0)
        for symbol, tape in market.bars.items():
            assert stored(hot, symbol) == in_order(list(tape), name)
        assert market.keys == {{"polygon": "Bearer secret-1", "alpaca": "secret-3"}.get(name, "the-crumb")}
        requests, bodies = hot.client.query("SELECT request, body FROM bars_landing").result_columns
        assert len(bodies) == len(market.asked) >= 2
        assert not any("secret" in said or "crumb" in said for said in requests)
        assert all(json.loads(body) for body in bodies)
        # The days inside an answer are whole; those at its ends are asked for again.
        whole = DAYS[1:3] if name == "yahoo" else DAYS[1:2]
        again = run(store, name, url, asked[0])
        assert again.questions[0].rows == sum(one.start.date() not in whole for one in TAPE)
        assert stored(hot, "AAPL") == in_order(TAPE, name)


@pytest.mark.parametrize("name", fast("polygon", "yahoo"))
def test_a_day_is_the_trading_day_whenever_it_begins(name: str, store: SeriesStore, hot: HotTables) -> None:
    """Summer time ends in New York on 2024-11-03. Sydney opens the evening before (UTC). The next run goes on."""
    days = [date(2024, 10, 31), date(2024, 11, 1), date(2024, 11, 4), date(2024, 11, 5)]
    zone, hour = (ZoneInfo("Australia/Sydney"), 10) if name == "yahoo" else (NEW_YORK, 0)
    starts = [datetime(day.year, day.month, day.day, hour, tzinfo=zone).astimezone(UTC) for day in days]
    market = Market(name, {"AAPL": [bar(start, number) for number, start in enumerate(starts)]}, zone=zone)
    with answering({}, market) as url:
        span = datetime(2024, 10, 31, tzinfo=UTC), datetime(2024, 11, 5, tzinfo=UTC)
        assert run(store, name, url, question(name, "AAPL", *span, "1d")).failures == []
        on = question(name, "AAPL", span[0], datetime(2024, 11, 6, tzinfo=UTC), "1d")
        assert run(store, name, url, on, again=False).failures == []
    found = hot.client.query("SELECT toDate(window_start), close FROM bars_exact ORDER BY 1").result_rows
    assert found == [(day, Decimal(one.close)) for day, one in zip(days, market.bars["AAPL"], strict=True)]


@pytest.mark.parametrize("name", fast("polygon"))
def test_an_answer_that_is_none_is_kept_and_named(name: str, store: SeriesStore, hot: HotTables) -> None:
    """The symbol beside it is answered in full."""
    market = Market(name, {"AAPL": TAPE[:50]})
    whole = market(*_request(name, "AAPL")).body
    assert isinstance(whole, bytes)
    faults = {"HTML": HTML, "CUT": whole[: len(whole) // 2], "OTHER": b'{"candles": [1]}'}
    market.odd = {symbol: partial(Reply, body) for symbol, body in faults.items()}
    with answering({}, market) as url:
        report = run(store, name, url, *(question(name, symbol, FIRST, END) for symbol in ("AAPL", *faults)))
    assert [bool(one.failure) for one in report.questions] == [False, True, True, True]
    assert stored(hot, "AAPL") == in_order(TAPE[:50], name)
    dead_letters = hot.client.query("SELECT reason, payload FROM series_dead_letters").result_rows
    reasons = {"HTML": "answer_not_json", "CUT": "answer_not_json", "OTHER": "answer_other_shape"}
    assert sorted(dead_letters) == sorted((reasons[symbol], body.decode()) for symbol, body in faults.items())


def _request(name: str, symbol: str) -> tuple[str, dict[str, str], dict[str, str]]:
    start, end = int(FIRST.timestamp()), int(END.timestamp())
    if name == "polygon":
        asked = {"adjusted": "false", "sort": "asc"}
        return f"/v2/aggs/ticker/{symbol}/range/1/minute/{start}000/{end}000", asked, {}
    if name == "alpaca":
        span = {"start": FIRST.isoformat(), "end": END.isoformat()}
        return "/v2/stocks/bars", {"symbols": symbol, "adjustment": "raw", "feed": "sip", **span}, {}
    return f"/v8/finance/chart/{symbol}", {"period1": str(start), "period2": str(end)}, {}


@pytest.mark.parametrize("name", fast("yahoo"))
def test_faults_of_single_bars_and_a_busy_provider_lose_no_other(name: str, store: SeriesStore, hot: HotTables) -> None:
    """A pause that is asked for, a bar of the future, and one whose high is below its low."""
    future = bar(_TODAY + timedelta(days=3))
    wrong = Bar(TAPE[2].start, "2", "1", "2", "2", "1", "1")
    market = Market(name, {"AAPL": [*TAPE[:2], wrong, *TAPE[3:9], future]})
    moments: list[float] = []

    def busy() -> Reply | None:
        moments.append(time.monotonic())
        return Reply(b"slow down", 429, {"Retry-After": "1"}) if len(moments) == 1 else None

    market.odd = {"AAPL": busy}
    with answering({}, market) as url:
        # Yahoo takes seven days at a time.
        end = _TODAY + timedelta(days=4)
        start = max(FIRST, end - timedelta(days=6)) if name == "yahoo" else FIRST
        market.bars = {
            "AAPL": [_moved(one, start - FIRST) if one is not future else one for one in market.bars["AAPL"]]
        }
        report = run(store, name, url, question(name, "AAPL", start, end))
    assert report.failures == []
    assert report.questions[0].reasons == {"contradicts": 1, "time_in_future": 1}
    assert len(stored(hot, "AAPL")) == 8
    assert moments[1] - moments[0] >= 1
    assert len(moments) == 2, "the client library asks no second time by itself"


def _moved(one: Bar, span: timedelta) -> Bar:
    return Bar(one.start + span, one.open, one.high, one.low, one.close, one.volume, one.trades)


def test_yahoos_empty_minutes_and_newest_price_are_no_bars(store: SeriesStore, hot: HotTables) -> None:
    start = TAPE[0].seconds
    quotes = {name: [1.5, None, 2.5] for name in ("open", "high", "low", "close", "volume")}
    result = {
        "meta": {"exchangeTimezoneName": "America/New_York"},
        "timestamp": [start, start + 60, start + 97],
        "indicators": {"quote": [quotes]},
    }
    error = {"code": "Bad Request", "description": f"Data doesn't exist for startDate = {start}, endDate = {start}"}
    replies = iter([Reply({"chart": {"result": None, "error": error}}, 400)] * 2)
    market = Market("yahoo", {})
    market.odd = {
        "AAPL": lambda: Reply({"chart": {"result": [result], "error": None}}),
        "EMPTY": lambda: next(replies),
    }
    with answering({}, market) as url:
        early = question("yahoo", "AAPL", _TODAY - timedelta(days=90), _TODAY - timedelta(days=25))
        report = run(store, "yahoo", url, early, question("yahoo", "EMPTY", FIRST, END))
    assert "serves bars of 1m from" in report.questions[0].failure
    assert (report.questions[0].rejected, report.questions[1].failure) == (0, "")
    assert stored(hot, "AAPL") == [(start, *[Decimal("1.5")] * 5, None)]


def rows(source: EquityBars, asked: Question) -> list[int]:
    """How many rows each answer has."""

    async def all_of_it() -> list[int]:
        try:
            return [len(one.rows) async for one in source.answers(asked)]
        finally:
            await source.close()

    return asyncio.run(all_of_it())


@pytest.mark.parametrize("name", ["polygon", "yahoo"])
def test_an_answer_is_bounded_however_it_is_packed(name: str) -> None:
    packed = gzip.compress(b" " * (ANSWER_BYTES + 1))
    market = Market(name, {}, {"AAPL": lambda: Reply(packed, headers={"Content-Encoding": "gzip"})})
    with answering({}, market) as url, pytest.raises(ProviderError, match=r"more than|file size"):
        rows(provider(name, url), question(name, "AAPL", FIRST, END))


@pytest.mark.parametrize("has_bar", [True, False])
def test_a_bar_of_the_future_does_not_say_where_to_go_on(has_bar: bool) -> None:
    """The page after it begins behind the last bar of the past. Without one the question is given up."""
    shown = [*([TAPE[0]] if has_bar else []), bar(_TODAY + timedelta(days=9))]
    results = [{"t": one.seconds * 1_000, "o": 1, "h": 1, "l": 1, "c": 1, "v": 1} for one in shown]
    asked = question("polygon", "AAPL", FIRST, END)
    first = iter([Reply({"results": results, "next_url": "https://elsewhere/"})])
    market = Market("polygon", {"AAPL": TAPE[:5]})
    market.odd = {"AAPL": lambda: next(first, None)}

    with answering({}, market) as url:
        if has_bar:
            assert rows(provider("polygon", url), asked) == [2, 4]
        else:
            with pytest.raises(ProviderError, match="nothing usable"):
                rows(provider("polygon", url), asked)


@pytest.mark.parametrize("zone", ["", "../etc/passwd", "America", "Mars/Olympus", "\0"])
def test_an_unknown_time_zone_is_another_shape(zone: str) -> None:
    market = Market("yahoo", {"AAPL": TAPE[:2]})
    body = market(*_request("yahoo", "AAPL")).body
    assert isinstance(body, bytes)
    said = body.replace(b'"America/New_York"', json.dumps(zone).encode())
    with pytest.raises(OtherShapeError):
        reader("yahoo")(said, question("yahoo", "AAPL", FIRST, END, "1d"))


@given(st.data())
def test_no_answer_breaks_a_reader(data: st.DataObject) -> None:
    """Whatever stands in the place of a part of it, or where it is cut: it has rows, or is none."""
    name = data.draw(st.sampled_from(NAMES))
    market = Market(name, {"AAPL": TAPE[:2]})
    whole = json.loads(market(*_request(name, "AAPL")).body)  # type: ignore[arg-type]
    odd = st.recursive(st.none() | st.integers() | st.text(), lambda one: st.lists(one, max_size=2), max_leaves=4)
    body = json.dumps(_changed(whole, data, odd)).encode()
    cut = body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body
    asked = question(name, "AAPL", FIRST, END, data.draw(st.sampled_from(["1m", "1d"])))
    try:
        page = reader(name)(cut, asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    assert all(UNREADABLE in row or {"symbol", "window_start"} <= row.keys() for row in page.rows)


def _changed(part: object, data: st.DataObject, odd: st.SearchStrategy[object]) -> object:
    """A part of it, at a place that is drawn, is another one."""
    if not part or not isinstance(part, dict | list) or data.draw(st.integers(0, 5)) == 0:
        return data.draw(odd)
    keys = list(part) if isinstance(part, dict) else list(range(len(part)))
    key = data.draw(st.sampled_from(keys))
    if isinstance(part, dict):
        return {**part, key: _changed(part[key], data, odd)}
    return [_changed(one, data, odd) if place == key else one for place, one in enumerate(part)]


def test_what_is_missing_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in (("polygon", "MEDALLION_POLYGON_API_KEY"), ("alpaca", "MEDALLION_ALPACA_SECRET_KEY")):
        with pytest.raises(SeriesError, match=variable):
            open_provider(name, name, "", None, settings)
    with_keys = settings.model_copy(update={name: Settings(**KEYS).model_dump()[name] for name in KEYS})  # type: ignore[arg-type]
    libraries = {"polygon": "massive", "alpaca": "alpaca.common.enums", "yahoo": "yfinance.data"}
    for name, library in libraries.items():
        assert name in series_named("bars").providers
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(SeriesError, match=r"medallion\[equities\]"):
            open_provider(name, name, "", None, with_keys)
    series = series_named("bars")
    with pytest.raises(SeriesError, match="no symbol of polygon"):
        questions_of(series, SymbolRegistry.load(settings.symbols_file), "polygon", ["../AAPL"], "1m", FIRST, END)


def test_the_command_and_what_others_say_of_sessions(
    store: SeriesStore, hot: HotTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coverage calls no minute or day missing, and no check looks for candles."""
    reached = hot.settings.model_dump(include={"clickhouse_host", "clickhouse_http_port", "clickhouse_database"})
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in reached.items()} | ENVIRONMENT
    key = tmp_path / "key"
    key.write_text("secret-1\n")
    given |= {"MEDALLION_POLYGON_API_KEY_FILE": str(key), "XDG_STATE_HOME": str(tmp_path)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    def medallion(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == code, (answer.output, answer.exception)
        return answer.output

    market = Market("polygon", {"BRK.B": session(DAYS[0])})
    with answering({}, market) as url:
        asked = ("series", "run", "bars", "--provider", "polygon", "--rest-endpoint", url, "--symbol", "BRK.B")
        said = medallion(*asked, "--from", f"{FIRST:%Y-%m-%d}", "--to", f"{END:%Y-%m-%d}")
    assert "secret" not in said
    assert market.keys == {"Bearer secret-1"}
    assert stored(hot, "BRK.B") == in_order(list(market.bars["BRK.B"]), "polygon")
    found = json.loads(medallion("coverage", "--exchange", "polygon", "--symbol", "BRK.B", "--json"))
    assert {(one["data"], one["frame"]) for one in found} == {("bars", "1m")}
    assert [(one["status"], one["why"]) for one in found[:2]] == [
        ("unknown", "count_unknown"),
        ("unknown", "session_unknown"),
    ]
    assert {one["status"] for one in found} == {"unknown"}
    assert stored_markets(store, SymbolRegistry.load(hot.settings.symbols_file), "1m", 60) == []
    assert isinstance(CliRunner().invoke(app, [*asked, "--exchange", "binance"]).exception, MedallionError)
