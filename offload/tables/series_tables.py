"""The two cold tables of a declared series, and the one with the dead letters of all series.

Landing has the answers as they came, snapshots have every version of every row. Staging has the rows of the snapshots
too, and no cold table of its own.

Columns and types follow from the declaration. An optional column is NULL if the provider does not give it, and in files
that are older than the column. So an optional column can be added at any time.
"""

from __future__ import annotations

from dataclasses import replace

from pyiceberg.types import BooleanType, IcebergType

from offload.tables.cold_table import BYTES, LONG, PRICE, TEXT, TIME, UINT64, ColdTable, Column
from series.declaration import ARRIVAL, Series

_TYPES: dict[str, IcebergType] = {"text": TEXT, "time": TIME, "decimal": PRICE, "integer": UINT64}
# A page of a thousand bars has about 150 kB, compressed 50 kB. Its rows as texts take about as much again.
_ANSWER_BYTES = 100_000.0
_DEAD_LETTER_BYTES = 1_000.0
# With such row groups ClickHouse needs 100 MB to write 1 GB of answers of one hour. Without them 1 GiB is not enough.
_ANSWERS_BYTES = 8_388_608


DEAD_LETTERS = ColdTable(
    name="series_dead_letters",
    layer="series",
    hot="series_dead_letters",
    select="select_series_rows.sql",
    doc="What providers sent and no series could take, with the reason; one row a row of an answer",
    columns=(
        ("series", TEXT, "name of the series: bars"),
        ("reason", TEXT, "code of the broken rule, see docs/series.md"),
        ("field", TEXT, "the field that breaks it; row or answer: none could be read"),
        ("value", TEXT, "what the field has, as text"),
        ("provider", TEXT, "the service that sent the answer: binance"),
        ("request", TEXT, "what was asked"),
        ("answer_id", TEXT, "the answer it is from: see the landing table of the series"),
        ("place", LONG, "its place among the rows of the answer, from 1; 0: the answer as a whole"),
        (ARRIVAL, TIME, "when the answer came; the window of the offload"),
        ("payload", BYTES, "the row, or the first 64 KiB of the answer"),
    ),
    partition_time=ARRIVAL,
    partition_by="provider",
    period="day",
    sort=("series", ARRIVAL, "answer_id", "place"),
    arrival=ARRIVAL,
    hot_event=ARRIVAL,
    hot_period="month",
    # `answer_id` is a digest that includes the arrival, and it is part of the sorting key.
    counts_merged=True,
    row_bytes=_DEAD_LETTER_BYTES,
    row_group_bytes=_ANSWERS_BYTES,
)


def series_tables(series: Series) -> tuple[ColdTable, ColdTable]:
    """Landing and snapshots, under the names that they have in ClickHouse."""
    return _landing(series), _snapshots(series)


def staging_table(series: Series) -> ColdTable:
    """The cold snapshots as the copy of the rows of staging, for the durability gate. Staging is not offloaded."""
    return replace(
        _snapshots(series),
        hot=series.staging,
        hot_event=ARRIVAL,
        hot_period="day",
        row_key=(),
        counts_merged=False,
    )


def _landing(series: Series) -> ColdTable:
    return ColdTable(
        name=series.landing,
        layer="series",
        hot=series.landing,
        select="select_landing.sql",
        doc=f"Answers of providers as they came: {series.about}",
        columns=(
            ("answer_id", TEXT, "names the answer in every layer"),
            ("provider", TEXT, "who was asked"),
            ("request", TEXT, "what was asked: an address, or lines of a file"),
            (ARRIVAL, TIME, "when the answer came; the window of the offload"),
            ("body", BYTES, "the answer as it came; through ccxt without blanks around it"),
            ("defect", TEXT, "why no row could be read; empty: they could"),
            ("rows", TEXT, "JSON: the fields of each row as texts; one that is left out is empty"),
        ),
        partition_time=ARRIVAL,
        partition_by="provider",
        period="day",
        sort=(ARRIVAL, "answer_id"),
        arrival=ARRIVAL,
        hot_event=ARRIVAL,
        hot_period="month",
        row_bytes=_ANSWER_BYTES,
        row_group_bytes=_ANSWERS_BYTES,
    )


def _snapshots(series: Series) -> ColdTable:
    closed: tuple[Column, ...] = (("is_closed", BooleanType(), "the window was over when the provider answered"),)
    optional = frozenset(column.name for column in series.columns if column.is_optional)
    return ColdTable(
        name=series.snapshots,
        layer="series",
        hot=series.snapshots,
        select="select_series_rows.sql",
        doc=f"Every version of every row: {series.about}",
        columns=(
            *((column.name, _TYPES[column.type], column.comment) for column in series.columns),
            *(closed if series.frame else ()),
            ("provider", TEXT, "the service that published the row: binance"),
            ("answer_id", TEXT, f"the answer it is from: see {series.landing}"),
            ("place", LONG, "its place among the rows of the answer, from 1"),
            (ARRIVAL, TIME, "when the answer came; the window of the offload"),
        ),
        partition_time=ARRIVAL,
        partition_by="provider",
        period="day",
        sort=(*series.key, ARRIVAL),
        arrival=ARRIVAL,
        hot_event=series.time,
        hot_period="month",
        row_key=("answer_id", "place"),
        optional=optional,
        later=dict.fromkeys(optional),
        counts_merged=True,
    )
