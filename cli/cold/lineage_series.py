"""`medallion lineage series`: finds the answers that a row of a series comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import typer

from cli.cold.offload import ProofError
from cli.cold.trace_printing import print_changes, short
from cli.common.context import DataDirOption, JsonOption, load_settings, print_json, print_table
from cli.common.tiers import tiers_of
from offload.proof.trace_series import Key, SeriesTrace, trace_series
from series.declaration import Column, Series, load_series, series_named

_NAMES = [series.name for series in load_series()]
# Columns that are shown on their own.
_APART = ("provider", "answer_id", "place", "received_at")


def lineage_series(
    name: Annotated[str, typer.Argument(help=f"The series: {', '.join(_NAMES)}.")],
    key: Annotated[
        list[str],
        typer.Argument(metavar="COLUMN=VALUE...", help="Every column of its key; times are UTC: day=2026-01-05."),
    ],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow one row of a series to the answers that it is from: every version of it, hot and cold, with Iceberg file
    and snapshot, and the provider, request and time of each answer.

    Exit 1 if there is no such row, if a value changed on the way, or if an answer is missing or not as it came.
    """
    if name not in _NAMES:
        raise typer.BadParameter(f"no series {name!r}; one of {', '.join(_NAMES)}", param_hint="NAME")
    series = series_named(name)
    values = _key(series, key)
    trace = trace_series(tiers_of(load_settings(data_dir)), series, values)
    if as_json:
        print_json(trace)
    else:
        _print(trace)
    what = f"{name} {' '.join(key)}"
    if not trace.versions:
        raise ProofError(
            f"{what} is in neither tier: `medallion series list` shows what is stored, the tables series_dead_letters"
            " and cold.series_dead_letters what was rejected."
        )
    if trace.lost:
        raise ProofError(f"Neither tier has the answer {trace.lost[0]}, from which a version of {what} is.")
    if trace.changes:
        raise ProofError(f"Changed first in {trace.changes[0].layer}: {trace.changes[0].field}.")


def _key(series: Series, parts: list[str]) -> Key:
    """The values of the key by column."""
    texts = dict(part.partition("=")[::2] for part in parts)
    if texts.keys() != set(series.key):
        wanted = " ".join(f"{name}=…" for name in series.key)
        raise typer.BadParameter(f"give its whole key: {wanted}", param_hint="COLUMN=VALUE")
    try:
        return {column.name: _value(column, texts[column.name]) for column in series.columns if column.name in texts}
    except (ValueError, ArithmeticError) as error:
        raise typer.BadParameter(f"no value of its column: {error}", param_hint="COLUMN=VALUE") from error


def _value(column: Column, text: str) -> str | int | Decimal | datetime:
    if column.type == "time":
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if column.type == "integer":
        return int(text)
    return Decimal(text) if column.type == "decimal" else text


def _print(trace: SeriesTrace) -> None:
    print_table(
        "Versions, the oldest first",
        ("answered", "tier", "values", "provider", "answer", "row", "snapshot", "file"),
        [
            (
                version.row["received_at"],
                version.tier,
                " ".join(f"{name}={_shown(value)}" for name, value in version.row.items() if name not in _APART),
                version.row["provider"],
                version.row["answer_id"],
                str(version.row["place"]),
                str(version.snapshot_id or ""),
                version.file,
            )
            for version in trace.versions
        ],
    )
    print_table(
        "Answers",
        ("answer", "request", "bytes", "as it came", "tier", "snapshot", "file"),
        [
            (
                answer.answer_id,
                answer.request,
                answer.body_bytes,
                "yes" if copy.digest == answer.answer_id else f"no: it makes the id {copy.digest}",
                copy.tier,
                str(copy.snapshot_id or ""),
                copy.file,
            )
            for answer in trace.answers
            for copy in answer.copies
        ],
    )
    print_table(
        "What they say of it",
        ("answer", "row", "texts"),
        [
            (answer.answer_id, str(place), " ".join(f"{name}={text}" for name, text in texts.items()))
            for answer in trace.answers
            for place, texts in answer.said.items()
        ],
    )
    print_changes(trace.changes)


def _shown(value: object) -> object:
    return short(value) if isinstance(value, Decimal) else value
