"""Traces one row of a series to its answers: every version of the row, in both tiers, with file and snapshot.

Each answer is checked against its id, a digest of its bytes, request and time. Each version is checked against the
texts that its answer has of the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And, BooleanExpression

from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.files.export import select_of
from offload.proof.cold_rows import ColdRows, TracedRow, equals, in_span, one_of, readable
from offload.proof.value_changes import ValueChange, answer_to_row, hot_to_cold
from offload.tables.cold_tables import BY_NAME
from offload.tables.slices import instant, micros
from series.answer import Answer
from series.declaration import Series

Key = Mapping[str, str | int | Decimal | datetime]
_PARAMETERS = {"text": "String", "time": "Int64", "decimal": "Decimal(38, 18)", "integer": "UInt64"}
_ANSWER = ("answer_id", "provider", "request", "received_at", "body", "defect", "rows")


class AnswerCopy(BaseModel):
    """Where an answer is: `hot`, or `cold` with the Iceberg file and, until it expires, the snapshot.

    `digest`: the id computed from the bytes, request and time of this copy.
    """

    model_config = ConfigDict(frozen=True)

    tier: str
    file: str
    snapshot_id: int | None
    digest: str


class TracedAnswer(BaseModel):
    """An answer, and its texts of the row.

    `said`: by the place of the version in the answer, the texts of the row by column. `copies`: where the answer is
    stored; empty if neither tier has it. A copy whose digest is not `answer_id` is not what the provider sent.
    """

    model_config = ConfigDict(frozen=True)

    answer_id: str
    provider: str = ""
    request: str = ""
    received_at: datetime | None = None
    body_bytes: int = 0
    defect: str = ""
    said: dict[int, dict[str, str]] = {}
    copies: tuple[AnswerCopy, ...] = ()


class SeriesTrace(BaseModel):
    """Every version of a row, oldest first, and its answers. `changes`: values that differ from the layer before."""

    model_config = ConfigDict(frozen=True)

    series: str
    versions: tuple[TracedRow, ...]
    answers: tuple[TracedAnswer, ...]
    changes: tuple[ValueChange, ...]

    @property
    def lost(self) -> tuple[str, ...]:
        """Ids of answers that neither tier has."""
        return tuple(answer.answer_id for answer in self.answers if not answer.copies)


def trace_series(tiers: Tiers, series: Series, key: Key) -> SeriesTrace:
    """Trace the row with these values in the columns of the series' key; times are aware.

    Raises:
        OffloadError: ClickHouse or the warehouse fails.
    """
    cold = ColdRows(tiers.cold.load_all())
    versions = sorted(
        [*_hot_versions(tiers.hot, series, key), *_cold_versions(cold, series, key)],
        key=lambda version: (
            *(version.row[name] for name in ("received_at", "answer_id", "place")),
            version.tier != "hot",
        ),
    )
    answers = _answers(tiers.hot, cold, series, versions)
    return SeriesTrace(
        series=series.name,
        versions=tuple(versions),
        answers=tuple(answers),
        changes=tuple(_changes(series, versions, answers)),
    )


def _hot_versions(hot: HotStore, series: Series, key: Key) -> Iterator[TracedRow]:
    types = {column.name: _PARAMETERS[column.type] for column in series.columns}
    key_types = {name: types[name] for name in series.key}
    sql = render("trace_series.sql", table=series.snapshots, key_types=key_types, time=series.time)
    values: Parameters = {
        name: micros(value) if isinstance(value, datetime) else str(value) for name, value in key.items()
    }
    for row in hot.rows(sql, values):
        yield TracedRow(layer=series.snapshots, tier="hot", row=readable(row))


def _cold_versions(cold: ColdRows, series: Series, key: Key) -> Iterator[TracedRow]:
    names = [name for name, _, _ in BY_NAME[series.snapshots].columns]
    wanted = _all(_is(name, key[name]) for name in series.key)
    for row in cold.frame(series.snapshots, wanted, names).iter_rows(named=True):
        yield _placed(series.snapshots, row)


def _answers(hot: HotStore, cold: ColdRows, series: Series, versions: Sequence[TracedRow]) -> list[TracedAnswer]:
    """The answers of the versions, in their order. The content of an answer in both tiers is that of the hot one."""
    places: dict[str, set[int]] = {}
    for version in versions:
        places.setdefault(version.row["answer_id"], set()).add(int(version.row["place"]))
    if not places:
        return []
    times = [micros(version.row["received_at"]) for version in versions]
    span = {"from_us": min(times), "to_us": max(times) + 1}
    sql = render("trace_answers.sql", select=select_of(BY_NAME[series.landing], partition=False))
    rows = [
        TracedRow(layer=series.landing, tier="hot", row=readable(row) | {"body": bytes.fromhex(row["body"])})
        for row in hot.rows(sql, {**span, "ids": list(places)})
    ]
    arrived = in_span("received_at", instant(span["from_us"]), instant(span["to_us"]))
    wanted = And(one_of("answer_id", list(places)), arrived)
    rows += [_placed(series.landing, row) for row in cold.frame(series.landing, wanted, _ANSWER).iter_rows(named=True)]
    return [
        _answer(answer_id, [row for row in rows if row.row["answer_id"] == answer_id], places[answer_id])
        for answer_id in places
    ]


def _answer(answer_id: str, stored: Sequence[TracedRow], places: Iterable[int]) -> TracedAnswer:
    if not stored:
        return TracedAnswer(answer_id=answer_id)
    row = stored[0].row
    texts = json.loads(row["rows"])
    return TracedAnswer(
        answer_id=answer_id,
        provider=row["provider"],
        request=row["request"],
        received_at=row["received_at"],
        body_bytes=len(row["body"]),
        defect=row["defect"],
        said={place: texts[place - 1] for place in sorted(places) if place <= len(texts)},
        copies=tuple(
            AnswerCopy(tier=copy.tier, file=copy.file, snapshot_id=copy.snapshot_id, digest=_digest(copy.row))
            for copy in stored
        ),
    )


def _digest(row: Mapping[str, Any]) -> str:
    return Answer(row["provider"], row["request"], micros(row["received_at"]), row["body"]).id


def _changes(series: Series, versions: Sequence[TracedRow], answers: Sequence[TracedAnswer]) -> Iterator[ValueChange]:
    for answer in answers:
        for copy in answer.copies:
            if copy.digest != answer.answer_id:
                layer = f"cold.{series.landing}" if copy.tier == "cold" else series.landing
                yield ValueChange(layer=layer, field="answer_id", before=answer.answer_id, after=copy.digest)
    texts = {(answer.answer_id, place): row for answer in answers for place, row in answer.said.items()}
    hot: dict[tuple[str, int], Mapping[str, Any]] = {}
    for version in versions:
        place = version.row["answer_id"], int(version.row["place"])
        if version.tier == "hot":
            hot[place] = version.row
        elif place in hot:
            yield from hot_to_cold(series.snapshots, hot[place], version.row)
            continue
        if place in texts:
            yield from answer_to_row(series, texts[place], version.row)


def _placed(layer: str, row: dict[str, Any]) -> TracedRow:
    file, snapshot_id = row.pop("file"), row.pop("snapshot_id")
    return TracedRow(layer=layer, tier="cold", row=row, file=file, snapshot_id=snapshot_id)


def _is(name: str, value: str | int | Decimal | datetime) -> BooleanExpression:
    if isinstance(value, datetime):
        return equals(name, value.isoformat())
    return equals(name, Decimal(value) if isinstance(value, int) else value)


def _all(conditions: Iterable[BooleanExpression]) -> BooleanExpression:
    first, *others = conditions
    return And(first, *others) if others else first
