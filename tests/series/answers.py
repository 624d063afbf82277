"""Answers for any declared series: good rows, rows without what is optional, and rows that no series can take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from series import declaration
from series.answer import UNREADABLE, Answer, Defect, Row
from series.declaration import Column, Series
from series.providers.model import Question
from series.store import SeriesStore

DAY_MS = 86_400_000
FIRST_MS = 1_723_161_600_000


def good_row(series: Series, day: int) -> dict[str, str]:
    """A row that passes every rule: of the `day`-th day, with as many digits as a column can hold."""
    row = {column.name: _text(column) for column in series.columns}
    return row | {series.time: str(FIRST_MS + day * DAY_MS)}


def _text(column: Column) -> str:
    if column.one_of:
        return next(iter(column.one_of))
    if column.type == "text":
        return f"{column.name} \"é'"
    if column.type == "integer":
        return str(column.to) if column.to is not None else "9999999999999999999"
    # Numbers of a row may have to be in order, so all are the same.
    return "0.123456789012345678"


def answers_of(series: Series, received: datetime) -> Iterator[Answer]:
    """Three answers that came in one minute: two rows with one that breaks a rule, a page of HTML, and none."""
    optional = {column.name: "" for column in series.columns if column.is_optional}
    rows: Sequence[Row] = (
        good_row(series, 0),
        good_row(series, 1) | optional,
        good_row(series, 2) | {series.time: "soon"},
        {UNREADABLE: '{"a": 1}'},
    )
    yield _answer(series, received, 0, b'[1, "\xff"]', rows)
    yield _answer(series, received, 1, b"<html>\x00", (), Defect.NOT_JSON)
    yield _answer(series, received, 2, b"[]", ())


def _answer(
    series: Series, received: datetime, number: int, body: bytes, rows: Sequence[Row], defect: str = ""
) -> Answer:
    moment = received + timedelta(seconds=number)
    micros = int(moment.timestamp()) * 1_000_000 + moment.microsecond
    return Answer(f"from {number % 2}", f"GET /{series.name}?page={number}", micros, body, rows, defect)


def insert_all(store: SeriesStore, series: Series, received: datetime) -> list[Answer]:
    """Insert `answers_of` the series; returns them."""
    sent = list(answers_of(series, received))
    store.insert(series, sent)
    return sent


class Theirs:
    """A provider of a series that nobody has declared yet: one row a question."""

    async def answers(self, question: Question) -> AsyncIterator[Answer]:
        """As `Provider.answers`."""
        received = int(datetime(2026, 1, 5, 10, tzinfo=UTC).timestamp()) * 1_000_000
        yield Answer("theirs", "GET /row", received, b"[1]", [{**good_row(question.series, 0), **question.key}])

    async def close(self) -> None:
        """Nothing is open."""


def declare_fourth(folder: Path) -> Path:
    """Make a folder of declarations with `open_interest`, which nobody has declared yet, beside the product's."""
    folder.mkdir()
    columns = {
        "exchange": {"type": "text", "comment": "code"},
        "symbol": {"type": "text", "comment": "it's a symbol"},
        "noted_at": {"type": "time", "comment": "when"},
        "open_interest": {"type": "decimal", "from": 0, "comment": "contracts"},
        "accounts": {"type": "integer", "to": 1_000, "is_optional": True, "comment": "how many"},
    }
    said = {"about": "the exchange's open interest", "key": ["exchange", "symbol", "noted_at"], "time": "noted_at"}
    said |= {"providers": ["theirs"], "retention_days": {"landing": 1, "staging": 1, "snapshots": 1}}
    (folder / "open_interest.yaml").write_text(yaml.safe_dump(said | {"columns": columns}, sort_keys=False))
    for path in declaration.FOLDER.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    return folder
