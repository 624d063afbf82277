"""Invariant: what a provider sends is stored as it came and in full; what it should not have sent stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchanges.model import Rate
from producers.options import ProducerOptions
from series.answer import UNREADABLE
from series.declaration import series_named
from series.errors import SeriesError
from series.providers import alternative_me, binance_klines
from series.providers.alternative_me import AlternativeMe
from series.providers.binance_dumps import BinanceDumps
from series.providers.ccxt_rest import CcxtRest
from series.providers.model import Provider, Question
from series.run import RunReport, SeriesRun, left_of
from series.store import SeriesStore
from tests.offload.hot_tables import HotTables
from tests.producers.market_lists import binance, binance_spot
from tests.series.klines import DAY, DAY_MS, csv, kline, minutes
from tests.series.venue import Query, Reply, answering

FAST = ProducerOptions(requests=Rate(1_000, 1.0), breaker_open_s=0.2)
MARKETS = binance(binance_spot("BTCUSDT", "BTC", "USDT"), binance_spot("ETHUSDT", "ETH", "USDT"))
HTML = b"<html><body>We will be back</body></html>"


def bars(symbol: str = "BTCUSDT", start: datetime = DAY, end: datetime = DAY + timedelta(days=1)) -> Question:
    return Question(series_named("bars"), start, end, "binance", symbol, symbol, "1m")


def run(store: SeriesStore, provider: Provider, *questions: Question, again: bool = True) -> RunReport:
    async def all_of_it() -> RunReport:
        try:
            return await SeriesRun(store, provider, 2).run(questions, again=again, progress=lambda _: None)
        finally:
            await provider.close()

    return asyncio.run(all_of_it())


def listed(klines: Callable[[Query], Reply]) -> dict[str, Callable[[Query], Reply]]:
    return {"/api/v3/exchangeInfo": lambda _: Reply(MARKETS), "/api/v3/klines": klines}


def served(tape: Sequence[Sequence[object]]) -> Callable[[Query], Reply]:
    """Pages as Binance documents them: from `startTime` on, at most `limit`."""

    def page(query: Query) -> Reply:
        found = [one for one in tape if int(str(one[0])) >= int(query["startTime"])]
        return Reply(found[: int(query["limit"])])

    return page


def dump(folder: Path, name: str, content: bytes, checksum: str | None = None) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", content)
    (folder / f"{name}.zip").write_bytes(packed.getvalue())
    said = checksum or hashlib.sha256(packed.getvalue()).hexdigest()
    (folder / f"{name}.zip.CHECKSUM").write_text(f"{said}  {name}.zip\n")


def test_a_days_file_is_read_once_and_in_full(tmp_path: Path, store: SeriesStore, hot: HotTables) -> None:
    tape = minutes(DAY_MS, 1_440)
    dump(tmp_path, "BTCUSDT-1m-2024-08-09", csv(tape))
    report = run(store, BinanceDumps(str(tmp_path)), bars())
    assert (report.failures, report.total("rows"), report.total("rejected")) == ([], 1_440, 0)
    stored = hot.client.query(
        "SELECT window_start, close, trade_count, buy_volume FROM bars_exact ORDER BY window_start"
    )
    assert [row[1:] for row in stored.result_rows] == [(Decimal(str(one[4])), 12, Decimal("0.5")) for one in tape]
    assert hot.client.query("SELECT body FROM bars_landing").result_columns[0] == [csv(tape).decode()]
    # The day is stored in full: nothing is asked for again.
    assert run(store, BinanceDumps("/nowhere"), bars()).total("answers") == 0


def test_a_file_that_is_damaged_or_missing_is_named_and_the_others_are_read(
    tmp_path: Path, store: SeriesStore, hot: HotTables
) -> None:
    dump(tmp_path, "BTCUSDT-1m-2024-08-09", csv(minutes(DAY_MS, 3)), checksum="0" * 64)
    dump(tmp_path, "ETHUSDT-1m-2024-08-09", b"open_time,open,other\n" + csv(minutes(DAY_MS, 2)) + HTML + b"\n")
    report = run(store, BinanceDumps(str(tmp_path)), bars(), bars("ETHUSDT"), bars("SOLUSDT"))
    assert [one.rows for one in report.questions] == [0, 3, 0]
    assert report.questions[1].reasons == {"row_unreadable": 1}
    assert len(report.failures) == 2
    assert "SHA-256" in report.failures[0]
    assert "SOLUSDT-1m-2024-08-09" in report.failures[1]
    assert hot.client.command("SELECT payload FROM series_dead_letters") == HTML.decode()


def test_pages_over_rest_make_the_whole_span(store: SeriesStore, hot: HotTables) -> None:
    tape = minutes(DAY_MS, 1_440)
    with answering(listed(served(tape))) as url:
        report = run(store, CcxtRest("binance", url, FAST), bars(), bars("ETHUSDT"))
        assert (report.failures, [one.rows for one in report.questions]) == ([], [1_440, 1_440])
        found = hot.client.query(
            "SELECT toUnixTimestamp64Milli(window_start), close FROM bars_exact WHERE symbol = 'ETHUSDT'"
        )
        assert sorted(found.result_rows) == [(one[0], Decimal(str(one[4]))) for one in tape]
        assert hot.client.command("SELECT uniqExact(trade_count, quote_volume) FROM bars") == 1
        request = hot.client.command("SELECT min(request) FROM bars_landing")
        assert str(request).startswith(f"{url}/api/v3/klines?interval=1m")


def test_each_answer_names_its_own_request(store: SeriesStore, hot: HotTables) -> None:
    """Two markets are asked at a time, each page with a pause, so that their requests meet."""
    tape = minutes(DAY_MS, 1_440)
    met = threading.Barrier(2)

    def page(query: Query) -> Reply:
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(0.2)
        return served(tape)(query)

    with answering(listed(page)) as url:
        run(store, CcxtRest("binance", url, FAST), bars(), bars("ETHUSDT"))
    found = hot.client.query(
        "SELECT DISTINCT rows.symbol[1], extract(request, 'symbol=([A-Z]+)') FROM bars_landing WHERE notEmpty(rows)"
    )
    assert sorted(found.result_rows) == [("BTCUSDT", "BTCUSDT"), ("ETHUSDT", "ETHUSDT")]


def test_the_next_run_goes_on_from_the_newest_bar(store: SeriesStore, hot: HotTables) -> None:
    today_ms = int(datetime.now(UTC).timestamp()) // 86_400 * 86_400_000
    tape = [kline(today_ms - days * 86_400_000) for days in reversed(range(11))]
    asked: list[int] = []

    def page(query: Query) -> Reply:
        asked.append(int(query["startTime"]))
        return served(tape)(query)

    with answering(listed(page)) as url:
        now = datetime.now(UTC)
        days = dataclasses.replace(bars(start=now - timedelta(days=11), end=now), frame="1d")
        run(store, CcxtRest("binance", url, FAST), days)
        # Today was not over: it is asked for again, and has another volume now.
        tape[-1][5] = "9.5"
        asked.clear()
        report = run(store, CcxtRest("binance", url, FAST), days, again=False)
    assert report.failures == []
    assert min(asked) == tape[-2][0]
    newest = hot.client.query("SELECT volume, is_closed FROM bars ORDER BY window_start DESC LIMIT 2").result_rows
    assert newest == [(9.5, False), (1.5, True)]


@pytest.mark.parametrize(
    ("body", "reason", "kind"),
    [
        (HTML, "answer_not_json", "text/html"),
        (json.dumps(minutes(DAY_MS, 3)).encode()[:-39], "answer_not_json", "application/json"),
        (b'{"rows": [[1, 2]]}', "answer_other_shape", "application/json"),
    ],
)
def test_an_answer_that_is_none_is_kept_and_named(
    body: bytes, reason: str, kind: str, store: SeriesStore, hot: HotTables
) -> None:
    """The market beside it is answered in full."""

    def page(query: Query) -> Reply:
        return Reply(body, kind=kind) if query["symbol"] == "BTCUSDT" else served(minutes(DAY_MS, 1_440))(query)

    with answering(listed(page)) as url:
        report = run(store, CcxtRest("binance", url, FAST), bars(), bars("ETHUSDT"))
    assert [one.rows for one in report.questions] == [0, 1_440]
    assert [bool(one.failure) for one in report.questions] == [True, False]
    dead_letters = hot.client.query("SELECT reason, payload FROM series_dead_letters").result_rows
    assert dead_letters == [(reason, body.decode())]


def test_rows_that_break_a_rule_stop_no_others(store: SeriesStore, hot: HotTables) -> None:
    """A bar of the future, one with another number of columns, one whose high is below its low."""
    tape = minutes(DAY_MS, 1_440)
    tape[5] = tape[5][:11]
    tape[6][2] = "1"
    future = minutes(int(datetime.now(UTC).timestamp()) // 86_400 * 86_400_000 + 3 * 86_400_000, 1)
    with answering(listed(lambda query: Reply([*served(tape)(query).body, *future]))) as url:  # type: ignore[misc]
        report = run(store, CcxtRest("binance", url, FAST), bars())
    assert set(report.questions[0].reasons) == {"row_unreadable", "contradicts", "time_in_future"}
    assert hot.client.command("SELECT count() FROM bars") == 1_438


def test_a_provider_that_asks_for_a_pause_gets_it(store: SeriesStore) -> None:
    moments: list[float] = []

    def page(query: Query) -> Reply:
        moments.append(asyncio.new_event_loop().time())
        if len(moments) == 1:
            return Reply({"code": -1003, "msg": "Too many requests"}, 429, {"Retry-After": "2"})
        return served(minutes(DAY_MS, 1_440))(query)

    with answering(listed(page)) as url:
        report = run(store, CcxtRest("binance", url, FAST), bars())
    assert report.failures == []
    assert moments[1] - moments[0] >= 2


def test_months_of_funding_rates_are_read_from_the_newest_on(
    tmp_path: Path, store: SeriesStore, hot: HotTables
) -> None:
    start = datetime(2024, 1, 31, 16, tzinfo=UTC)
    first, eight_hours = int(start.timestamp() * 1_000), 8 * 3_600_000
    # Binance's times are some milliseconds late now and then.
    times = [first - eight_hours, first, first + eight_hours + 7, first + 2 * eight_hours]
    rates = ["-0.00012359", "0.00010000", "0.00037409", "-0.1"]
    lines = [f"{time},8,{rate}\n" for time, rate in zip(times, rates, strict=True)]
    header = "calc_time,funding_interval_hours,last_funding_rate\n"
    dump(tmp_path, "BTCUSDT-fundingRate-2024-01", (header + "".join(lines[:2])).encode())
    dump(
        tmp_path, "BTCUSDT-fundingRate-2024-02", ("".join(lines[2:]) + "later,8,0.1\n" + HTML.decode() + "\n").encode()
    )
    series = series_named("funding_rates")

    def asked(exchange: str, since: datetime) -> Question:
        return Question(series, since, datetime(2024, 3, 1, tzinfo=UTC), exchange, "BTCUSDT", "BTCUSDT")

    report = run(store, BinanceDumps(str(tmp_path)), asked("binance_usdm", start))
    # January's file has no more than the rate at which the question begins.
    assert (report.failures, report.total("answers"), report.total("rows")) == ([], 1, 4)
    assert report.questions[0].reasons == {"time_invalid": 1, "row_unreadable": 1}
    report = run(store, BinanceDumps(str(tmp_path)), asked("binance_usdm", start - timedelta(hours=8)))
    assert (report.failures, report.total("answers")) == ([], 2)
    found = hot.client.query(
        "SELECT toUnixTimestamp64Milli(funding_time), rate, mark_price FROM funding_rates_exact ORDER BY funding_time"
    )
    assert found.result_rows == [(time, Decimal(rate), None) for time, rate in zip(times, rates, strict=True)]
    with pytest.raises(SeriesError, match="futures only"):
        run(store, BinanceDumps(str(tmp_path)), asked("binance", start))


def test_funding_rates_keep_every_digit(store: SeriesStore, hot: HotTables) -> None:
    market = binance_spot("BTCUSDT", "BTC", "USDT") | {
        "pair": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": 1569398400000,
        "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3, "underlyingType": "COIN",
    }  # fmt: skip
    hours = [DAY_MS + hour * 3_600_000 for hour in (0, 8, 16)]
    rates = [
        {"symbol": "BTCUSDT", "fundingRate": "-0.00012345", "fundingTime": hour, "markPrice": "60000.123456"}
        for hour in hours
    ]

    def page(query: Query) -> Reply:
        return Reply([one for one in rates if int(str(one["fundingTime"])) >= int(query["startTime"])])

    paths = {"/fapi/v1/exchangeInfo": lambda _: Reply(binance(market)), "/fapi/v1/fundingRate": page}
    asked = Question(series_named("funding_rates"), DAY, DAY + timedelta(days=1), "binance_usdm", "BTCUSDT", "BTCUSDT")
    with answering(paths) as url:
        report = run(store, CcxtRest("binance_usdm", url, FAST), asked)
    assert report.failures == []
    found = hot.client.query("SELECT toUnixTimestamp64Milli(funding_time), rate, mark_price FROM funding_rates_exact")
    assert sorted(found.result_rows) == [(hour, Decimal("-0.00012345"), Decimal("60000.123456")) for hour in hours]


def test_the_index_is_read_as_documented(store: SeriesStore, hot: HotTables) -> None:
    days = [{"value": "40", "value_classification": "Fear", "timestamp": "1551157200", "time_until_update": "68499"},
            {"value": "147", "value_classification": "Greed", "timestamp": "1551070800"}]  # fmt: skip
    said = {"name": "Fear and Greed Index", "data": days, "metadata": {"error": None}}
    asked = Question(series_named("fear_greed"), datetime(2019, 2, 1, tzinfo=UTC), datetime(2019, 3, 1, tzinfo=UTC))
    with answering({"/fng/": lambda _: Reply(said)}) as url:
        report = run(store, AlternativeMe(url, FAST), asked)
    assert report.failures == []
    assert report.questions[0].reasons == {"out_of_range": 1}
    assert hot.client.query(
        "SELECT toUnixTimestamp64Second(day), value, classification FROM fear_greed"
    ).result_rows == [(1551157200, 40, "Fear")]


@given(
    st.one_of(
        st.binary(),
        st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8).map(json.dumps).map(str.encode),
    )
)
def test_no_answer_breaks_a_parser(body: bytes) -> None:
    rows, defect = alternative_me.rows_of(body)
    assert not (rows and defect)
    for line in binance_klines.of_lines(body.splitlines(keepends=True), {"symbol": "X"}):
        assert UNREADABLE in line or line["symbol"] == "X"


@given(st.sets(st.integers(0, 9)), st.integers(0, 240), st.integers(1, 240))
def test_full_days_are_left_out_and_nothing_else(full: set[int], first_hour: int, hours: int) -> None:
    start = DAY + timedelta(hours=first_hour)
    parts = left_of(
        bars(start=start, end=start + timedelta(hours=hours)), {(DAY + timedelta(days=one)).date() for one in full}
    )
    asked = {hour for part in parts for hour in range(hours_of(part.start), hours_of(part.end))}
    assert asked == {hour for hour in range(first_hour, first_hour + hours) if hour // 24 not in full}
    assert all(one.end < other.start for one, other in pairwise(parts))


def hours_of(moment: datetime) -> int:
    return int((moment - DAY).total_seconds()) // 3_600
