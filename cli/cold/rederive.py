"""`medallion rederive`: makes Silver and Gold again by today's rules from cold Bronze, or all three from cold Raw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from cli.cold.offload import FORMATS, utc
from cli.common.arguments import check_names, check_span
from cli.common.context import DataDirOption, JsonOption, load_settings, print_json, print_table
from cli.common.tiers import tiers_of
from cli.common.work import Work, working
from offload.clickhouse.tiers import Tiers
from offload.rederive.bronze import BronzeHourReport
from offload.rederive.from_raw import RawReport, rederive_from_raw
from offload.rederive.run import DayReport, RederiveProgress
from offload.rederive.run import rederive as run_rederive


class Layer(StrEnum):
    """Where a re-derivation begins."""

    BRONZE = "bronze"
    RAW = "raw"


def rederive(
    since: Annotated[datetime, typer.Option("--from", help="First day of event time (UTC).", formats=FORMATS)],
    until: Annotated[datetime, typer.Option("--to", help="End of event time (UTC), exclusive.", formats=FORMATS)],
    exchange: Annotated[str, typer.Option(help="Only this exchange-and-market code.")] = "",
    symbol: Annotated[str, typer.Option(help="Only this canonical symbol (of Silver and Gold).")] = "",
    from_layer: Annotated[
        Layer, typer.Option(help="raw: make Bronze again first, by the SQL of the live view.")
    ] = Layer.BRONZE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    mend_gold: Annotated[
        bool,
        typer.Option(
            "--mend-gold",
            help="Publish although hot Gold lacks trades that hot Silver has (no Silver worker may be in an insert).",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate cold Bronze again by today's registry, and replace what differs in Silver and Gold, hot and cold.

    It works on whole UTC days of event time. Readers see a day as it was or as it is now. Live trades go on. If it is
    killed, run it again: it completes the work. On a cluster it needs every replica, and --from-layer raw is refused.
    """
    start, end = utc(since), utc(until)
    assert start is not None
    assert end is not None
    check_span(start, end)
    settings = load_settings(data_dir)
    tiers = tiers_of(settings, only_look=dry_run)
    go_on = "Nothing was changed." if dry_run else "Run the same command again: it finishes what was begun."
    with working("Re-deriving", go_on, quiet=as_json) as work:
        watch = _Watch(work)
        report = _run(tiers, start, end, exchange, symbol, from_layer, dry_run, mend_gold, watch)
    if not report.days:
        check_names(settings, exchange, symbol, canonical=True)
    if as_json:
        print_json({"dry_run": dry_run, "from_layer": from_layer.value, **report.model_dump()})
    else:
        _print(report, dry_run, from_layer)


class _Watch:
    def __init__(self, work: Work) -> None:
        self._work = work

    def hour(self, report: BronzeHourReport, number: int, total: int) -> None:
        self._show(number, total, "hours of Bronze", f"{report.hour:%Y-%m-%dT%H}")

    def day(self, step: RederiveProgress) -> None:
        self._show(step.number - 1, step.total, "exchanges and days", f"{step.doing} {step.exchange} {step.day}")

    def _show(self, done: int, total: int, unit: str, doing: str) -> None:
        self._work.show(f"{done:,} of {total:,} {unit}", f"{total - done:,}", doing=doing, share=done / total)


def _run(
    tiers: Tiers,
    start: datetime,
    end: datetime,
    exchange: str,
    symbol: str,
    layer: Layer,
    dry_run: bool,
    mend_gold: bool,
    watch: _Watch,
) -> RawReport:
    if layer is Layer.RAW:
        return rederive_from_raw(
            tiers,
            start,
            end,
            exchange=exchange,
            symbol=symbol,
            dry_run=dry_run,
            mend_gold=mend_gold,
            on_hour=watch.hour,
            progress=watch.day,
        )
    days = run_rederive(
        tiers,
        start,
        end,
        exchange=exchange,
        symbol=symbol,
        dry_run=dry_run,
        mend_gold=mend_gold,
        progress=watch.day,
    )
    return RawReport(bronze=(), bronze_published=(), days=tuple(days))


def _print(report: RawReport, dry_run: bool, layer: Layer) -> None:
    title = "Would change" if dry_run else "Changed"
    if layer is Layer.RAW:
        print_table(
            f"{title} in Bronze, by hour of arrival",
            ("hour", "rows", "added", "removed", "altered"),
            [(f"{h.hour:%Y-%m-%dT%H}", h.rows, h.added, h.removed, h.altered) for h in report.bronze],
            empty="no rows of these days",
        )
    _print_days(report.days, title)


def _print_days(days: Sequence[DayReport], title: str) -> None:
    frames = list(days[0].candles_altered) if days else []
    names = ("exchange", "day", "rows", "added", "removed", "altered", "without Bronze")
    dead_letters = ("dead letters resolved", "new dead letters")
    print_table(
        f"{title} in Silver and Gold",
        (*names, *(f"{frame} candles" for frame in frames), *dead_letters),
        [
            (
                day.exchange,
                day.day,
                day.rows,
                day.added,
                day.removed,
                day.altered,
                day.unfounded,
                *day.candles_altered.values(),
                day.letters_resolved,
                day.letters_added,
            )
            for day in days
        ],
        empty="no trades in these days",
    )
