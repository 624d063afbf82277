"""Offload of the candles: the partitions that new Silver rows touched, each exported whole, all in one commit."""

from __future__ import annotations

from collections.abc import Mapping

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from offload.commit import Replacement
from offload.errors import CommitConflictError
from offload.export import discard, export_slice, select_of
from offload.ledger import SliceRecord, ledger_properties, read_ledger, read_silver_windows, silver_properties
from offload.report import Outcome, SliceReport
from offload.slices import HOUR_US, Slice, gold_slices, hour, parse_gold_id
from offload.tables import BY_NAME, ColdTable
from offload.task import ATTEMPTS, Task, commit, new_attempt
from offload.templates import render

# Later than any candle: nothing is left out for being open.
NO_END_US = 7_258_118_400_000_000


@retry(
    retry=retry_if_exception_type(CommitConflictError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random(0.01, 0.2),
    reraise=True,
)
def offload_gold(task: Task, cold: ColdTable) -> list[SliceReport]:
    """Bring one time frame up to date with the Silver rows of the run's span.

    Raises:
        OffloadError: as `offload.run.run`.
    """
    table = task.load(cold)
    ledger = read_ledger(table.properties)
    silver = BY_NAME["silver_trades"]
    windows = task.arrivals(silver)
    followed = read_silver_windows(table.properties)
    news = {start: rows for start, rows in windows.items() if task.again or rows > followed.get(hour(start).id, 0)}
    touched = gold_slices(cold, _touched(task, news))
    until_us = NO_END_US if task.until_now else task.closed_us
    waiting = {parse_gold_id(cold, name) for name, record in ledger.items() if not record.final}
    attempt = new_attempt()
    replacements: list[Replacement] = []
    reports: list[SliceReport] = []
    records: dict[str, SliceRecord] = {}
    try:
        for part in sorted(touched | waiting):
            known = ledger.get(part.id)
            measure = _measure(task, cold, part, until_us)
            final = part.to_us <= task.closed_us
            if known is not None and (measure < known.measure or (measure == known.measure and part not in touched)):
                outcome: Outcome = "kept" if measure < known.measure else "unchanged"
                if outcome == "unchanged" and (known.until_us, known.final) != (until_us, final):
                    records[part.id] = known.model_copy(update={"until_us": until_us, "final": final})
                report = SliceReport(table=cold.name, slice=part.id, outcome=outcome, rows=known.rows, final=final)
                reports.append(report)
                continue
            task.say(cold, part.id, "exporting")
            export = export_slice(task.hot, table, cold, part, until_us, attempt)
            task.say(cold, part.id, "exported", export.rows)
            fresh = SliceRecord(
                attempt=attempt,
                rows=export.rows,
                measure=measure,
                until_us=until_us,
                final=final,
            )
            replacements.append(Replacement(export, fresh))
    except BaseException:
        for replacement in replacements:
            discard(table, replacement.export)
        raise
    followed_now = silver_properties((hour(start).id, rows) for start, rows in news.items())
    more = {**ledger_properties(records), **followed_now}
    if replacements or more:
        commit(task, table, cold, attempt, replacements, more)
    reports += [
        SliceReport(
            table=cold.name,
            slice=replacement.export.part.id,
            outcome="written",
            rows=replacement.export.rows,
            files=len(replacement.export.files),
            bytes=replacement.export.size,
            final=replacement.record.final,
        )
        for replacement in replacements
    ]
    return reports


def _touched(task: Task, windows: Mapping[int, int]) -> set[tuple[str, int]]:
    """(exchange, day in µs) of the Silver rows that arrived in these windows; adjacent windows are one query."""
    spans: list[list[int]] = []
    for start in sorted(windows):
        if spans and spans[-1][1] == start:
            spans[-1][1] = start + HOUR_US
        else:
            spans.append([start, start + HOUR_US])
    sql = render("touched.sql")
    rows = [row for from_us, to_us in spans for row in task.hot.rows(sql, {"from_us": from_us, "to_us": to_us})]
    return {(row["key"], int(row["day_us"])) for row in rows}


def _measure(task: Task, cold: ColdTable, part: Slice, until_us: int) -> int:
    """Trades in the hot candles of a partition; they only grow, unless the hot tier has let go of some."""
    sql = render("gold_measure.sql", select=select_of(cold, partition=True))
    span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": until_us, "key": part.key}
    return int(task.hot.rows(sql, span)[0]["trades"])
