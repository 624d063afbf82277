"""Invariant 7 for series: their cold tables equal the answers, however often and whenever they were offloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.hourly.status import status
from offload.proof.verify import VerifyReport, verify
from offload.run import run
from offload.tables.cold_tables import BY_NAME, TABLES
from series.answer import Answer
from series.declaration import Series, load_series, series_named
from series.store import SeriesStore
from tests.offload.cold_tables import files_on_disk, files_referenced, live_files, load, read
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import ARRIVAL, HotTables
from tests.series.answers import answers_of, insert_all
from tests.series.oracle import judge

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
        if isinstance(typed := judge(series, row, answer.received_us), dict)
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


def test_hot_and_cold_are_equal_and_nothing_is_left_out(offloaded: Settings) -> None:
    report = verified(offloaded)
    assert report.ok
    assert report.complete
    rows = {"landing": 3, "snapshots": 2}
    assert {table.table: (table.hot_rows, table.cold_rows, table.slices) for table in report.tables} == {
        f"{name}_{kind}": (2 * count, 2 * count, 2) for name in DECLARED for kind, count in rows.items()
    }
    assert {
        table.table: (table.complete_until, table.rows, table.pending)
        for table in status(Tiers.open(offloaded))
        if BY_NAME[table.table] in COLD
    } == {f"{name}_{kind}": (ARRIVAL + timedelta(hours=2), 2 * n, 0) for name in DECLARED for kind, n in rows.items()}


def test_a_second_run_adds_nothing(offloaded: Settings) -> None:
    before = {cold.name: load(offloaded, cold).metadata.snapshots for cold in COLD}
    again = run(Tiers.open(offloaded), layers=("series",))
    assert {part.outcome for part in again.slices} == {"unchanged"}
    assert {cold.name: load(offloaded, cold).metadata.snapshots for cold in COLD} == before


@pytest.mark.parametrize(
    ("name", "column"),
    [("bars_snapshots", "quote_volume"), ("funding_rates_snapshots", "funding_time"), ("fear_greed_landing", "body")],
)
def test_a_damaged_cold_value_is_found(name: str, column: str, offloaded: Settings) -> None:
    path = next(path for path in live_files(offloaded, BY_NAME[name]) if pq.read_metadata(path).num_rows > 1)
    whole, rows = path.read_bytes(), pq.read_table(path)
    # Bytes of a body need not be UTF-8.
    values = rows.column(column).cast(pa.binary()) if column == "body" else rows.column(column)
    assert values[0] != values[1]
    swapped = values.take(pa.array([1, 0, *range(2, rows.num_rows)]))
    try:
        pq.write_table(rows.set_column(rows.schema.get_field_index(column), column, swapped), path)
        found = verified(offloaded)
    finally:
        path.write_bytes(whole)
    assert {difference.table for table in found.tables for difference in table.differences} == {name}
    assert verified(offloaded).ok


class KilledError(BaseException):
    """The process ends here: nothing cleans up after it."""


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.nightly)])
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
