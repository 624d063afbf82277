"""Invariant 7 for series: their cold tables equal the answers, however often and whenever they were offloaded."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table

from cli.main import app
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.hourly.status import status
from offload.pins import Pins
from offload.proof.verify import VerifyReport, verify
from offload.retention.gate import close_gate, leaving
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME, TABLES
from series.answer import UNREADABLE, Answer
from series.declaration import Series, load_series, series_named
from series.store import SeriesStore
from tests.offload.cold_tables import files_on_disk, files_referenced, live_files, load, read
from tests.offload.command_line import as_environment, run_command
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import ARRIVAL, HotTables
from tests.series.answers import answers_of, good_row, insert_all
from tests.series.oracle import validate

HOURS = (ARRIVAL + timedelta(minutes=3), ARRIVAL + timedelta(hours=1, minutes=59))
COLD = [cold for cold in TABLES if cold.layer == "series"]
DECLARED = [series.name for series in load_series()]


@pytest.fixture(scope="module")
def offloaded(http_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Answers of two hours of every declared series, offloaded. A test that damages a file puts it back."""
    hot = HotTables(new_settings(http_port, tmp_path_factory.mktemp("series")))
    store = SeriesStore(hot.settings)
    for series in load_series():
        for received in HOURS:
            insert_all(store, series, received)
    run(Tiers.open(hot.settings))
    yield hot.settings
    hot.give_back()


def answers(series: Series) -> list[Answer]:
    return [answer for received in HOURS for answer in answers_of(series, received)]


def moment(answer: Answer) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=answer.received_us)


def truth(series: Series, sent: list[Answer]) -> list[dict[str, Any]]:
    """The rows of the snapshots that the answers make, in their order."""
    return [
        {
            **typed,
            "provider": answer.provider,
            "answer_id": answer.id,
            "place": place,
            "received_at": moment(answer),
        }
        for answer in sent
        for place, row in enumerate(answer.rows, start=1)
        if isinstance(typed := validate(series, row, answer.received_us), dict)
    ]


def cold_rows(settings: Settings, name: str, *order: str) -> list[dict[str, Any]]:
    return read(settings, BY_NAME[name]).sort(*order).to_dicts()


def verified(settings: Settings) -> VerifyReport:
    return verify(Tiers.open(settings), layers=("series",))


@pytest.mark.parametrize("name", DECLARED)
def test_the_cold_tables_are_the_answers(name: str, offloaded: Settings) -> None:
    series = series_named(name)
    sent = answers(series)
    assert cold_rows(offloaded, series.snapshots, "received_at", "place") == truth(series, sent)
    assert len(truth(series, sent)) == 2 * len(HOURS)
    landed = cold_rows(offloaded, series.landing, "received_at")
    said = [json.loads(row.pop("rows")) for row in landed]
    assert landed == [
        {
            "answer_id": answer.id,
            "provider": answer.provider,
            "request": answer.request,
            "received_at": moment(answer),
            "body": answer.body,
            "defect": str(answer.defect),
        }
        for answer in sent
    ]
    assert said == [[{key: text for key, text in row.items() if text} for row in answer.rows] for answer in sent]


def rejected(series: Series, answer: Answer) -> dict[int, tuple[str, str, str, object]]:
    """By place the reason, field, value and payload of what the series cannot take; a row as texts by name."""
    if answer.defect:
        return {0: (answer.defect, "answer", "", answer.body)}
    found: dict[int, tuple[str, str, str, object]] = {}
    for place, row in enumerate(answer.rows, start=1):
        if UNREADABLE in row:
            found[place] = ("row_unreadable", "row", "", row[UNREADABLE].encode())
        elif isinstance(broken := validate(series, row, answer.received_us), tuple):
            found[place] = (*broken, row[broken[1]], {**row, UNREADABLE: ""})
    return found


def test_the_cold_dead_letters_are_what_no_series_took(offloaded: Settings) -> None:
    expected = [
        (series.name, answer.provider, answer.request, answer.id, moment(answer), place, *dead_letter)
        for series in load_series()
        for answer in answers(series)
        for place, dead_letter in rejected(series, answer).items()
    ]
    names = ("series", "provider", "request", "answer_id", "received_at", "place", "reason", "field", "value")
    dead_letters = cold_rows(offloaded, "series_dead_letters", "series", "received_at", "place")
    assert [
        (
            *(one[name] for name in names),
            json.loads(one["payload"]) if one["reason"] == "time_invalid" else one["payload"],
        )
        for one in dead_letters
    ] == expected
    assert len(expected) == 3 * len(HOURS) * len(DECLARED)


def test_hot_and_cold_are_equal_and_nothing_is_left_out(offloaded: Settings) -> None:
    report = verified(offloaded)
    assert report.ok
    assert report.complete
    rows = {"landing": 3, "snapshots": 2}
    dead_letters = {"series_dead_letters": (6 * len(DECLARED), 6 * len(DECLARED), 2)}
    assert {table.table: (table.hot_rows, table.cold_rows, table.slices) for table in report.tables} == dead_letters | {
        f"{name}_{kind}": (2 * count, 2 * count, 2) for name in DECLARED for kind, count in rows.items()
    }
    assert {
        table.table: (table.complete_until, table.rows, table.pending)
        for table in status(Tiers.open(offloaded))
        if table.table.startswith(tuple(DECLARED))
    } == {f"{name}_{kind}": (ARRIVAL + timedelta(hours=2), 2 * n, 0) for name in DECLARED for kind, n in rows.items()}


def test_a_second_run_adds_nothing(offloaded: Settings) -> None:
    before = {cold.name: load(offloaded, cold).metadata.snapshots for cold in COLD}
    again = run(Tiers.open(offloaded), layers=("series",))
    assert {part.outcome for part in again.slices} == {"unchanged"}
    assert {cold.name: load(offloaded, cold).metadata.snapshots for cold in COLD} == before


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("bars_snapshots", "quote_volume"),
        pytest.param("funding_rates_snapshots", "funding_time", marks=pytest.mark.nightly),
        ("fear_greed_landing", "body"),
        ("series_dead_letters", "payload"),
    ],
)
def test_a_damaged_cold_value_is_found(name: str, column: str, offloaded: Settings) -> None:
    path = next(path for path in live_files(offloaded, BY_NAME[name]) if pq.read_metadata(path).num_rows > 1)
    whole, rows = path.read_bytes(), pq.read_table(path)
    # Bytes of a body need not be UTF-8.
    values = rows.column(column).cast(pa.binary()) if column in {"body", "payload"} else rows.column(column)
    assert values[0] != values[1]
    swapped = values.take(pa.array([1, 0, *range(2, rows.num_rows)]))
    try:
        pq.write_table(rows.set_column(rows.schema.get_field_index(column), column, swapped), path)
        found = verified(offloaded)
    finally:
        path.write_bytes(whole)
    assert {difference.table for table in found.tables for difference in table.differences} == {name}


class KilledError(BaseException):
    """The process ends here: nothing cleans up after it."""


# Of the fast tier: hourly/test_faults.py kills the run at the commit of another table.
@pytest.mark.nightly
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_dies_at_its_commit_is_completed_by_the_next(
    when: str, settings: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, store = series_named("bars"), SeriesStore(settings)
    sent = insert_all(store, series, HOURS[0])
    run(Tiers.open(settings), layers=("series",))
    # It came in the same hour and was inserted late.
    sent += insert_all(store, series, HOURS[0] + timedelta(minutes=30))
    with monkeypatch.context() as patched:
        commit = Table._do_commit

        def dies(table: Table, *args: Any, **kwargs: Any) -> None:
            if when == "after":
                commit(table, *args, **kwargs)
            raise KilledError

        patched.setattr(Table, "_do_commit", dies)
        with pytest.raises(KilledError):
            run(Tiers.open(settings), layers=("series",))
    assert read(settings, BY_NAME[series.landing]).height == (6 if when == "after" else 3)
    run(Tiers.open(settings), layers=("series",))
    assert cold_rows(settings, series.snapshots, "received_at", "place") == truth(series, sent)
    assert read(settings, BY_NAME[series.landing]).height == 6
    assert verified(settings).complete
    assert files_on_disk(settings) == files_referenced(settings)


def tag_of(settings: Settings, name: str, pin: str) -> int | None:
    ref = load(settings, BY_NAME[name]).metadata.refs.get(pin)
    return None if ref is None else ref.snapshot_id


def test_a_pin_has_the_series_as_they_were_and_brings_them_back(
    settings: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = series_named("bars")
    hot.load_series("bars")
    run(Tiers.open(settings))
    pin = Pins(ColdTier.open(settings)).create("loss")
    hot.load_series("bars", hours=2)
    run(Tiers.open(settings))
    # A tag keeps its snapshot from expiry.
    tagged = {
        name: tag_of(settings, name, "loss") for name in (series.landing, series.snapshots, "series_dead_letters")
    }
    assert tagged == {part.table: part.snapshot_id for part in pin.tables if part.rows}
    as_environment(settings, monkeypatch)
    asked = "SELECT volume, quote_volume IS NULL, is_closed, received_at FROM bars_snapshots ORDER BY place"
    code, said, _ = run_command(app, "query", "--pin", "loss", asked)
    kept = truth(series, list(answers_of(series, ARRIVAL)))
    assert code == 0
    assert [line.split("\t") for line in said.splitlines()] == [
        [
            f"{row['volume']}",
            str(int(row["quote_volume"] is None)),
            "true" if row["is_closed"] else "false",
            f"{row['received_at']:%Y-%m-%d %H:%M:%S.%f}",
        ]
        for row in kept
    ]
    tables = ("bars_landing", "bars_staging", "bars_snapshots", "bars_current", "series_dead_letters")
    of_the_hour = "SELECT DISTINCT * FROM {} WHERE received_at < '2026-01-05 11:00:00' ORDER BY ALL"
    every = [of_the_hour.format(name) for name in tables]
    before = [str(hot.client.query(one).result_rows) for one in every]
    for name in tables:
        hot.client.command(f"TRUNCATE TABLE {name}")
    document = (Path(__file__).resolve().parents[2] / "docs" / "series.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"```sql\n(INSERT INTO bars_landing .*?)```", document, re.DOTALL)
    assert run_command(app, "query", statement)[::2] == (0, "")
    assert [str(hot.client.query(one).result_rows) for one in every] == before
    Pins(ColdTier.open(settings)).drop("loss")
    hot.client.command("DROP DATABASE pin_loss")
    assert tag_of(settings, series.snapshots, "loss") is None
    assert read(settings, BY_NAME[series.snapshots]).height == 2 * len(kept)


def key_of(series: Series, row: Mapping[str, Any]) -> list[str]:
    return [f"{name}={row[name].isoformat() if isinstance(row[name], datetime) else row[name]}" for name in series.key]


@pytest.mark.parametrize("name", DECLARED)
def test_a_row_leads_to_its_answers(name: str, offloaded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    as_environment(offloaded, monkeypatch)
    series = series_named(name)
    row = truth(series, answers(series))[1]
    code, said, error = run_command(app, "lineage", "series", name, *key_of(series, row), "--json")
    assert (code, error) == (0, "")
    found = json.loads(said)
    first = [next(iter(answers_of(series, hour))) for hour in HOURS]
    assert [(one["row"]["answer_id"], one["row"]["place"], one["tier"]) for one in found["versions"]] == [
        (answer.id, 2, tier) for answer in first for tier in ("hot", "cold")
    ]
    written = {
        cold.name: {snapshot.snapshot_id for snapshot in load(offloaded, cold).metadata.snapshots} for cold in COLD
    }
    for answer, one in zip(first, found["answers"], strict=True):
        assert (one["answer_id"], one["request"], one["body_bytes"]) == (answer.id, answer.request, len(answer.body))
        assert one["said"] == {"2": {key: text for key, text in answer.rows[1].items() if text}}
        hot_copy, cold_copy = one["copies"]
        assert (hot_copy["tier"], hot_copy["digest"], cold_copy["digest"]) == ("hot", answer.id, answer.id)
        assert cold_copy["snapshot_id"] in written[series.landing]
        assert answer.id in pl.read_parquet(cold_copy["file"], columns=["answer_id"])["answer_id"]
    for one in found["versions"]:
        if one["tier"] == "cold":
            assert one["snapshot_id"] in written[series.snapshots]
            assert one["row"]["answer_id"] in pl.read_parquet(one["file"], columns=["answer_id"])["answer_id"]
    printed = run_command(app, "lineage", "series", name, *key_of(series, row))[1]
    assert first[0].id in printed


def test_a_change_after_the_answer_is_named(
    settings: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_environment(settings, monkeypatch)
    series = series_named("funding_rates")
    hot.load_series(series.name)
    row = truth(series, list(answers_of(series, ARRIVAL)))[0]
    trace = ["lineage", "series", series.name, *key_of(series, row)]
    assert run_command(app, *trace)[0] == 0, "it is not in Iceberg yet"
    changed = "ALTER TABLE funding_rates_{} UPDATE {} WHERE 1 SETTINGS mutations_sync = 1"
    hot.client.command(changed.format("snapshots", "rate = rate + toDecimal128('0.000000000000000001', 18)"))
    assert "Changed first in funding_rates_snapshots: rate" in run_command(app, *trace)[2]
    hot.client.command(changed.format("landing", "body = concat(body, ' ')"))
    assert "Changed first in funding_rates_landing: answer_id" in run_command(app, *trace)[2]
    hot.client.command("TRUNCATE TABLE funding_rates_landing")
    assert "Neither tier has the answer" in run_command(app, *trace)[2]
    hot.client.command("TRUNCATE TABLE funding_rates_snapshots")
    assert "is in neither tier" in run_command(app, *trace)[2]


@pytest.mark.parametrize("said", [("day=2026-01-05", "more=1"), ("day=soon",), ("2026-01-05",)])
def test_a_key_that_is_none_is_refused(said: tuple[str, ...]) -> None:
    assert run_command(app, "lineage", "series", "fear_greed", *said)[0] == 2


def as_long(value: object) -> object:
    """Avro has no unsigned long, so ClickHouse writes another number from 2^63 on."""
    return value - 2**64 if isinstance(value, int) and value >= 2**63 else value


@pytest.mark.parametrize("name", DECLARED)
def test_rows_come_through_avro_as_they_are(name: str, offloaded: Settings) -> None:
    series = series_named(name)
    newest = [
        {key: as_long(value) for key, value in row.items()} for row in truth(series, list(answers_of(series, HOURS[1])))
    ]
    code, said, _ = run_command(app, "series", "schema", name)
    assert code == 0
    schema = json.loads(said)
    asked = f"SELECT {', '.join(newest[0])} FROM {series.views[-1]} ORDER BY {series.time}"
    # fastavro has no snappy of its own.
    sent = HotTables(offloaded).client.raw_query(asked, settings={"output_format_avro_codec": "deflate"}, fmt="Avro")
    assert list(fastavro.reader(io.BytesIO(sent), reader_schema=schema)) == newest
    # A file from before the optional columns.
    optional = {column.name for column in series.columns if column.is_optional}
    file = io.BytesIO()
    earlier = schema | {"fields": [field for field in schema["fields"] if field["name"] not in optional]}
    fastavro.writer(file, earlier, newest)
    file.seek(0)
    assert list(fastavro.reader(file, reader_schema=schema)) == [row | dict.fromkeys(optional) for row in newest]


def hot_rows(hot: HotTables, *names: str) -> dict[str, int]:
    return {name: hot.count(name) for name in names}


def test_hot_rows_leave_when_iceberg_has_them_and_not_before(
    settings: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_environment(settings, monkeypatch)
    series, store = series_named("funding_rates"), SeriesStore(settings)
    sent = insert_all(store, series, HOURS[0])
    kept = {f"{series.name}_{kind}": days for kind, days in series.retention_days.items()}
    key = key_of(series, truth(series, sent)[0])

    def gate(days: int) -> dict[str, str]:
        now = HOURS[0] + timedelta(days=days, minutes=31)
        report = close_gate(Tiers.open(settings), tables=list(kept), drop=True, now=now)
        return {name: " ".join({one.state for one in report.verdicts if one.table == name}) for name in kept}

    run(Tiers.open(settings), layers=("series",))
    # One that came in the same hour, and that Iceberg does not have.
    late = insert_all(store, series, HOURS[0] + timedelta(minutes=30))
    # Of another month, which is a partition of the snapshots for itself.
    last = Answer("from 0", "GET /one", late[-1].received_us + 1_000_000, b"[2]", [good_row(series, 40)])
    store.insert(series, [last])
    late.append(last)
    assert gate(400) == dict.fromkeys(kept, "held")
    assert hot_rows(hot, *kept) == {series.landing: 7, series.staging: 5, series.snapshots: 5}
    run(Tiers.open(settings), layers=("series",))
    assert gate(min(kept.values()) - 1) == dict.fromkeys(kept, "young")
    for days in sorted(kept.values()):
        assert gate(days) == {
            name: "dropped" if of == days else "young" if of > days else "" for name, of in kept.items()
        }
    assert hot_rows(hot, *kept, *(leaving(name) for name in kept)) == dict.fromkeys(
        [*kept, *(leaving(name) for name in kept)], 0
    )
    # The answers and versions are whole in Iceberg, and the current rows are there.
    assert cold_rows(settings, series.snapshots, "received_at", "place") == truth(series, sent + late)
    assert hot.client.query("SELECT rate FROM funding_rates_exact ORDER BY funding_time").result_columns[0] == [
        row["rate"] for row in truth(series, late)
    ]
    report = verified(settings)
    assert report.ok
    assert sum(table.only_cold for table in report.tables) == 7 + 5
    run(Tiers.open(settings), layers=("series",))
    assert read(settings, BY_NAME[series.landing]).height == 7
    code, said, _ = run_command(app, "lineage", "series", series.name, *key, "--json")
    assert code == 0
    found = json.loads(said)
    assert [(one["tier"], one["row"]["answer_id"]) for one in found["versions"]] == [
        ("cold", sent[0].id), ("cold", late[0].id),
    ]  # fmt: skip
    assert {copy["tier"] for answer in found["answers"] for copy in answer["copies"]} == {"cold"}
    # A version that comes after the month has left is hot beside the cold ones.
    later = insert_all(store, series, HOURS[1])
    assert hot.count(series.snapshots) == 2
    every = truth(series, sent + late + later)
    columns = ", ".join(every[0])
    shown = hot.client.query(
        f"SELECT {columns} FROM funding_rates_snapshots_all ORDER BY received_at, place", tz_mode="aware"
    )
    assert [dict(zip(every[0], row, strict=True)) for row in shown.result_rows] == every
    (rows_of_day,) = hot.client.query(
        "SELECT count() FROM funding_rates_snapshots_all WHERE funding_time < '2024-08-10'"
    ).result_columns[0]
    assert rows_of_day == 3
