"""`medallion backfill`: an exchange's history into the raw topics."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.context import DataDirOption, JsonOption, err, load_settings, out, print_json
from config import logs
from producers import dumps
from producers.backfill import BackfillReport, State, days
from producers.backfill import backfill as run_backfill

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]


def backfill(
    exchange: Annotated[str, typer.Option(help=f"Exchange code: {', '.join(dumps.markets())}.")],
    symbols: Annotated[str, typer.Option(help="Symbols in the exchange's own spelling, separated by commas.")],
    start: Annotated[datetime, typer.Option("--from", formats=_FORMATS, help="From this UTC day or time on.")],
    end: Annotated[datetime, typer.Option("--to", formats=_FORMATS, help="To before this UTC day or time.")],
    source: Annotated[str, typer.Option(help="Folder or URL of the daily trade files.")] = dumps.URL,
    workers: Annotated[int, typer.Option(help="Days at a time.", min=1, max=32)] = 2,
    state: Annotated[Path, typer.Option(help="Remembers which days are done.")] = Path(".medallion/backfill.json"),
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish historical trades; run again after an interruption, days that are done are skipped."""
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "backfill")
    names = [name.strip() for name in symbols.split(",") if name.strip()]
    if exchange not in dumps.markets():
        raise typer.BadParameter(
            f"no dumps of {exchange!r}; one of {', '.join(dumps.markets())}", param_hint="--exchange"
        )
    if not names:
        raise typer.BadParameter("name at least one symbol, for example BTCUSDT", param_hint="--symbols")
    start, end = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    if start >= end:
        raise typer.BadParameter("is not after --from", param_hint="--to")
    columns = (SpinnerColumn(), TextColumn("{task.fields[published]:,} published"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None, published=0)

        def watch(report: BackfillReport) -> None:
            bar.update(task, published=report.published)

        report = run_backfill(
            days(exchange, names, start, end),
            start,
            end,
            settings,
            State(state),
            source=source,
            workers=workers,
            progress=watch,
        )
    if as_json:
        print_json(report)
        return
    out.print(f"{report.published:,} trades of {report.days} days published, {report.skipped} days were done before.")
