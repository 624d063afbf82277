"""Invariant: each row of an answer ends in its series or among the dead letters, typed exactly, as declared."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import ValidationError

from config.settings import Settings
from series import declaration
from series.answer import UNREADABLE, Answer, Defect
from series.declaration import Series, load_series, series_named
from series.questions import PROVIDERS
from series.store import SeriesStore
from tests.offload.command_line import as_environment
from tests.offload.hot_tables import HotTables
from tests.series.answers import FIRST_MS, declare_fourth
from tests.series.oracle import validate

ROOT = Path(__file__).resolve().parents[2]
NOW_US = 1_764_000_000_000_000
DECLARED = [series.name for series in load_series()]
BAR = {
    "exchange": "binance", "symbol": "BTCUSDT", "frame": "1m", "window_start": "1723161600000", "open": "60000.10",
    "high": "60010.00", "low": "59990.5", "close": "60005", "volume": "1.50000000", "quote_volume": "90000.1234",
    "trade_count": "12", "buy_volume": "0.5",
}  # fmt: skip
# An example takes a second: a failing one is shown as it is.
GENERATE = (hypothesis.Phase.generate,)
_moments = itertools.count(NOW_US)


def answer(rows: Sequence[Mapping[str, str]], body: bytes = b"[]", defect: str = "", at: int | None = None) -> Answer:
    return Answer("test", "GET /rows", at or next(_moments), body, rows, defect)


def odd_texts(good: str) -> st.SearchStrategy[str]:
    """Texts for a field whose usual one is `good`."""
    return st.one_of(
        st.just(good),
        st.sampled_from(
            [
                "",
                "0",
                "-1",
                "1",
                "100",
                "101",
                "60000",
                "1e3",
                "2.4e-07",
                "1e400",
                "0E-20",
                "-0e99",
                "NaN",
                "inf",
                " 1",
                "'\\",
            ]
        ),
        st.sampled_from(["0.0000000000000000001", "1.0000000000000000000000", "99999999999999999999", "1e20", "1e-18"]),
        st.decimals(allow_nan=False, allow_infinity=False, places=20).map(str),
        st.integers(-(10**22), 10**22).map(str),
        st.sampled_from(
            ["1723161600000", "1723161601", "1723161660000000", "9999999999999999", "99999999999999999999"]
        ),
        st.text(max_size=4),
    )


def rows_of(series: Series) -> st.SearchStrategy[list[dict[str, str]]]:
    good = dict.fromkeys(series.fields, "1") | {series.time: "1723161600000"} | (BAR if series.name == "bars" else {})
    good |= {column.name: next(iter(column.one_of)) for column in series.columns if column.one_of}

    @st.composite
    def row(draw: st.DrawFn) -> dict[str, str]:
        odd = draw(st.sets(st.sampled_from(series.fields), max_size=2))
        return {name: draw(odd_texts(good[name])) if name in odd else good[name] for name in series.fields}

    return st.lists(row(), min_size=30, max_size=60)


def check_every_row(series: Series, store: SeriesStore, hot: HotTables, rows: list[dict[str, str]]) -> None:
    sent = answer(rows)
    store.insert(series, [sent])
    columns = [*series.fields, *(["is_closed"] if series.frame else [])]
    typed = hot.client.query(
        f"SELECT place, {', '.join(columns)} FROM {series.name}_snapshots WHERE answer_id = {{id:String}}",
        parameters={"id": sent.id}, column_formats={}, tz_mode="aware",
    )  # fmt: skip
    dead_letters = hot.client.query(
        "SELECT place, reason, field FROM series_dead_letters FINAL WHERE answer_id = {id:String}",
        parameters={"id": sent.id},
    )
    found: dict[int, Any] = {place: dict(zip(columns, values, strict=True)) for place, *values in typed.result_rows}
    assert not found.keys() & {place for place, _, _ in dead_letters.result_rows}
    found |= {place: (reason, field) for place, reason, field in dead_letters.result_rows}
    assert found == {place: validate(series, row, sent.received_us) for place, row in enumerate(rows, start=1)}


@pytest.mark.parametrize("name", DECLARED)
def test_every_row_is_validated_by_the_declared_rules(name: str, store: SeriesStore, hot: HotTables) -> None:
    series = series_named(name)

    @hypothesis.settings(max_examples=hypothesis.settings().max_examples // 6, phases=GENERATE)
    @hypothesis.given(rows_of(series))
    def validated(rows: list[dict[str, str]]) -> None:
        check_every_row(series, store, hot, rows)

    validated()


@pytest.fixture
def fourth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Series]:
    """A series that nobody has declared yet."""
    monkeypatch.setattr(declaration, "FOLDER", declare_fourth(tmp_path / "declared"))
    load_series.cache_clear()
    yield series_named("open_interest")
    load_series.cache_clear()


# In a process of its own, as the series are known once a program has begun.
COMMANDS = """
import json
import sys
from pathlib import Path
from series import declaration
declaration.FOLDER = Path(sys.argv[1])
from cli.main import app
from series.questions import PROVIDERS
from tests.offload.command_line import run_command
from tests.series.answers import Theirs
PROVIDERS["theirs"] = lambda *_: Theirs()
print(json.dumps([run_command(app, *command) for command in json.loads(sys.argv[2])]))
"""


# Of the fast tier: the same of the three series that there are.
@pytest.mark.nightly
def test_a_fourth_series_is_one_file(fourth: Series, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a provider that brings it: by commands from the answer to Iceberg, and back to the answer."""
    there = HotTables(settings.model_copy(update={"clickhouse_database": "with_a_fourth"}))
    store = SeriesStore(there.settings)

    @hypothesis.settings(max_examples=hypothesis.settings().max_examples // 12, phases=GENERATE)
    @hypothesis.given(rows_of(fourth))
    def validated(rows: list[dict[str, str]]) -> None:
        check_every_row(fourth, store, there, rows)

    validated()
    as_environment(there.settings, monkeypatch)
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_DATABASE", there.settings.clickhouse_database)
    noted_at = datetime.fromtimestamp(FIRST_MS / 1_000, UTC).isoformat()
    row = ("exchange=binance", "symbol=BTCUSDT", f"noted_at={noted_at}")
    lineage = ("lineage", "series", fourth.name, *row, "--json")
    retained = (fourth.landing, fourth.staging, fourth.snapshots)
    commands = [
        ("series", "run", fourth.name, "--symbol", "BTCUSDT", "--from", "2024-08-09", "--json"),
        ("series", "list", "--json"),
        ("query", "SELECT open_interest, provider FROM open_interest_exact WHERE exchange = 'binance'"),
        ("offload", "run", "--layer", "series"),
        ("offload", "verify", "--json"),
        lineage,
        ("offload", "gate", "--drop", *(word for table in retained for word in ("--table", table))),
        lineage,
        ("series", "schema", fourth.name),
    ]
    child = [sys.executable, "-c", COMMANDS, str(declaration.FOLDER), json.dumps(commands)]
    done = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, check=True)
    answered = json.loads(done.stdout)
    assert [code for code, _, _ in answered] == [0] * len(commands), answered
    _, listed, current, _, verified, both, _, cold, schema = (said for _, said, _ in answered)
    (declared,) = (one for one in json.loads(listed)["declared"] if one["series"] == fourth.name)
    assert declared["providers"] == ["theirs"]
    assert current == "0.123456789012345678\ttheirs\n"
    report = json.loads(verified)
    assert report["ok"]
    assert report["complete"]
    tables = {table["table"]: table["cold_rows"] for table in report["tables"] if table["slices"]}
    assert tables.keys() == {fourth.landing, fourth.snapshots, "series_dead_letters"}
    for said, tiers in ((both, ["hot", "cold"]), (cold, ["cold"])):
        found = json.loads(said)
        assert [version["tier"] for version in found["versions"]] == tiers
        assert [copy["tier"] for copy in found["answers"][0]["copies"]] == tiers
    assert {there.count(table) for table in retained} == {0}
    assert {field["name"] for field in json.loads(schema)["fields"]} >= set(fourth.fields)
    there.drop()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("fear_greed", {"row_interval": 7}),
        ("bars", {"row_interval": 60}),
        ("fear_greed", {"retention_days": {"current": 30}}),
        ("fear_greed", {"retention_days": {"landing": 0}}),
        ("fear_greed", {"providers": []}),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused(name: str, wrong: dict[str, object]) -> None:
    said = series_named(name).model_dump(by_alias=True)
    assert Series.model_validate(said) == series_named(name)
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Series.model_validate(said | wrong)


@pytest.mark.parametrize("series", load_series(), ids=lambda series: series.name)
def test_every_declared_provider_can_be_opened(series: Series) -> None:
    assert set(series.providers) <= PROVIDERS.keys()


def test_the_newest_version_is_current_and_every_version_is_kept(store: SeriesStore, hot: HotTables) -> None:
    series = series_named("bars")
    versions = [BAR, BAR | {"volume": "1.6"}, BAR | {"volume": "1.50"}]
    for number, row in enumerate(versions):
        store.insert(series, [answer([row], at=NOW_US + number)])
    # One that comes late says nothing about what is newest.
    store.insert(series, [answer([BAR | {"volume": "9"}], at=NOW_US - 1)])
    assert hot.client.query("SELECT volume FROM bars_exact").result_rows == [(Decimal("1.5"),)]
    assert hot.client.query("SELECT volume FROM bars").result_rows == [(1.5,)]
    kept = hot.client.query("SELECT volume FROM bars_snapshots ORDER BY received_at").result_rows
    assert kept == [(Decimal(volume),) for volume in ("9", "1.5", "1.6", "1.5")]


def test_an_answer_that_is_sent_again_adds_nothing(store: SeriesStore, hot: HotTables) -> None:
    series = series_named("bars")
    sent = answer([BAR, BAR | {"open": "x"}, BAR | {"window_start": "1723161660000"}])
    tables = ("bars_landing", "bars_staging", "bars_snapshots", "bars_current", "series_dead_letters")
    store.insert(series, [sent])
    before = [hot.client.command(f"SELECT count() FROM {table}") for table in tables]
    store.insert(series, [sent])
    assert [hot.client.command(f"SELECT count() FROM {table}") for table in tables] == before == [1, 2, 2, 2, 1]


def test_each_answer_of_a_block_is_one_for_itself(store: SeriesStore, hot: HotTables) -> None:
    series = series_named("bars")
    second = BAR | {"window_start": "1723161660000"}
    sent = [
        answer([BAR, BAR | {"open": "x"}], at=NOW_US),
        answer([], b"<html>", Defect.NOT_JSON, at=NOW_US + 1),
        answer([], b"[]", at=NOW_US + 2),
        answer([BAR | {"volume": "1.6"}, second], at=NOW_US + 3),
    ]
    for _ in range(2):
        store.insert(series, sent)
    first, page, empty, last = (one.id for one in sent)
    landed = hot.client.query("SELECT answer_id FROM bars_landing").result_columns[0]
    assert sorted(landed) == sorted([first, page, empty, last])
    versions = hot.client.query("SELECT answer_id, place FROM bars_snapshots ORDER BY received_at, place").result_rows
    assert versions == [(first, 1), (last, 1), (last, 2)]
    current = hot.client.query("SELECT answer_id, place, volume FROM bars_exact ORDER BY place").result_rows
    assert current == [(last, 1, Decimal("1.6")), (last, 2, Decimal(BAR["volume"]))]
    dead_letters = hot.client.query("SELECT answer_id, place, reason FROM series_dead_letters ORDER BY received_at")
    assert dead_letters.result_rows == [(first, 2, "not_a_number"), (page, 0, "answer_not_json")]


def test_what_cannot_be_read_is_kept_as_it_came(store: SeriesStore, hot: HotTables) -> None:
    series = series_named("bars")
    html = b"<html>\xff maintenance</html>"
    store.insert(series, [answer([], html, Defect.NOT_JSON)])
    store.insert(series, [answer([{UNREADABLE: '{"open":1}'}, BAR], b'[{"open":1}, [...]]')])
    store.insert(series, [answer([], b"[]")])
    dead_letters = hot.client.query(
        "SELECT reason, place, hex(payload) FROM series_dead_letters ORDER BY place"
    ).result_rows
    unreadable = b'{"open":1}'
    assert dead_letters == [
        ("answer_not_json", 0, html.hex().upper()),
        ("row_unreadable", 1, unreadable.hex().upper()),
    ]
    bodies = hot.client.query("SELECT hex(body) FROM bars_landing").result_columns[0]
    assert sorted(bodies) == sorted(body.hex().upper() for body in (html, b'[{"open":1}, [...]]', b"[]"))
    assert hot.client.command("SELECT count() FROM bars") == 1


def test_what_is_stored_says_where_to_go_on(store: SeriesStore) -> None:
    """A period that was not over when the provider answered is asked for again."""
    series, day = series_named("bars"), 1_723_161_600_000
    assert store.newest(series, BAR) is None
    starts = range(day, day + 86_400_000 * 2 - 60_000, 60_000)
    received = (day + 2 * 86_400_000 - 90_000) * 1_000
    store.insert(series, [answer([BAR | {"window_start": str(start)} for start in starts], at=received)])
    assert store.newest(series, BAR) == datetime(2024, 8, 10, 23, 57, tzinfo=UTC)
    span = datetime(2024, 8, 8, tzinfo=UTC), datetime(2024, 8, 12, tzinfo=UTC)
    assert store.full_days(series, BAR, *span) == {date(2024, 8, 9)}
    assert store.full_days(series, BAR | {"frame": "5m"}, *span) == set()
    assert [row["row_count"] for row in store.rows("stored", {})] == [len(starts)]
