"""`medallion rederive`: Silver and Gold again from cold Bronze, by today's rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.cold import FORMATS, utc
from cli.context import DataDirOption, JsonOption, err, load_settings, print_json, print_table
from offload.rederive import DayReport
from offload.rederive import rederive as run_rederive


def rederive(
    since: Annotated[datetime, typer.Option("--from", help="First day of event time (UTC).", formats=FORMATS)],
    until: Annotated[datetime, typer.Option("--to", help="End of event time (UTC), exclusive.", formats=FORMATS)],
    exchange: Annotated[str, typer.Option(help="Only this exchange-and-market code.")] = "",
    symbol: Annotated[str, typer.Option(help="Only this canonical symbol.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge cold Bronze again by the present registry and replace what differs in Silver and Gold, hot and cold.

    Works on whole UTC days of event time. Restart the Silver workers afterwards: they know the trades they have seen.
    """
    start, end = utc(since), utc(until)
    assert start is not None
    assert end is not None
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("Re-deriving …", total=None)

        def watch(day: DayReport) -> None:
            progress.update(task, description=f"Re-derived {day.exchange} {day.day}")

        days = run_rederive(
            load_settings(data_dir), start, end, exchange=exchange, symbol=symbol, dry_run=dry_run, progress=watch
        )
    if as_json:
        print_json(days)
    else:
        _print(days, dry_run)


def _print(days: Sequence[DayReport], dry_run: bool) -> None:
    frames = list(days[0].candles_altered) if days else []
    print_table(
        "Would change" if dry_run else "Changed",
        ("exchange", "day", "rows", "added", "removed", "altered", "without Bronze", *(f"{f} candles" for f in frames)),
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
            )
            for day in days
        ],
        empty="no trades in these days",
    )
