"""`medallion backfill`: an exchange's history into the raw topics."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cli.context import DataDirOption, JsonOption, err, load_settings, out, print_json, print_table
from config import logs
from producers import backfill as from_dumps
from producers import dumps
from producers.backfill import BackfillReport
from producers.exchanges import REGISTRY
from producers.journal import Journal
from producers.rest_backfill import Estimate, IncompleteError, RestBackfill

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]
_REST = "rest"


def backfill(
    exchange: Annotated[str, typer.Option(help=f"Exchange code: {', '.join(REGISTRY)}.")],
    symbols: Annotated[str, typer.Option(help="Symbols in the exchange's own spelling, separated by commas.")],
    start: Annotated[datetime, typer.Option("--from", formats=_FORMATS, help="From this UTC day or time on.")],
    end: Annotated[datetime, typer.Option("--to", formats=_FORMATS, help="To before this UTC day or time.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="`rest`: the exchange's REST interface; else folder or URL of Binance's daily trade files."
            f" Default: {dumps.URL} for {', '.join(dumps.markets())}, rest for others."
        ),
    ] = None,
    rest_endpoint: Annotated[
        str | None, typer.Option(help="Ask here instead of the exchange's REST interface.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Days or symbols at a time.", min=1, max=32)] = 2,
    state: Annotated[Path, typer.Option(help="Remembers what is done.")] = Path(".medallion/backfill.jsonl"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, publish nothing.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish historical trades; run again after an interruption, what is done is not fetched again.

    Exit code 1 where the exchange does not serve all of it: what is missing is said, and a row of producer_gaps.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "backfill")
    names = [name.strip() for name in symbols.split(",") if name.strip()]
    source = source or (dumps.URL if exchange in dumps.markets() and rest_endpoint is None else _REST)
    start, end = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    _check(exchange, names, start, end, source)
    with Journal(state) as journal:
        asked = RestBackfill(exchange, names, start, end, rest_endpoint)
        wanted = from_dumps.days(exchange, names, start, end)
        if dry_run and source == _REST:
            _show_estimates(asyncio.run(asked.estimate(journal)), as_json)
            return
        if dry_run:
            _show_days(from_dumps.left(wanted, start, end, journal), len(wanted), source, as_json)
            return
        columns = (
            SpinnerColumn(),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[published]:,} published"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=1.0, published=0)

            def watch(report: BackfillReport) -> None:
                bar.update(task, completed=report.share, published=report.published)

            if source == _REST:
                report = asyncio.run(asked.run(settings, journal, workers=workers, progress=watch))
            else:
                report = from_dumps.backfill(
                    wanted, start, end, settings, journal, source=source, workers=workers, progress=watch
                )
    if as_json:
        print_json(report)
    else:
        what = "symbols" if source == _REST else "days"
        out.print(f"{report.published:,} trades of {report.parts} {what} published, {report.skipped} were done before.")
    if report.missing:
        raise IncompleteError(
            f"{'; '.join(report.missing)}. What is served was published, what is not is `unfillable` in producer_gaps."
        )


def _check(exchange: str, names: list[str], start: datetime, end: datetime, source: str) -> None:
    if exchange not in REGISTRY:
        raise typer.BadParameter(f"no {exchange!r}; one of {', '.join(REGISTRY)}", param_hint="--exchange")
    if not names:
        raise typer.BadParameter("name at least one symbol, for example BTCUSDT", param_hint="--symbols")
    if source != _REST and exchange not in dumps.markets():
        raise typer.BadParameter(f"no dumps of {exchange!r}: use --source rest", param_hint="--source")
    if start >= end:
        raise typer.BadParameter("is not after --from", param_hint="--to")


def _show_estimates(estimates: list[Estimate], as_json: bool) -> None:
    if as_json:
        print_json(estimates)
        return
    rows = [
        (
            one.symbol,
            one.trades,
            one.requests,
            f"{one.seconds:,.0f}",
            "done before" if one.done else (f"none before {_moment(one.unreachable[1])}" if one.unreachable else ""),
        )
        for one in estimates
    ]
    print_table("Would be fetched", ("symbol", "trades", "requests", "seconds at least", ""), rows)


def _show_days(left: list[dumps.Day], total: int, source: str, as_json: bool) -> None:
    if as_json:
        print_json({"source": source, "days": [day.name for day in left], "done": total - len(left)})
        return
    print_table(
        f"Would be fetched from {source} ({total - len(left)} of {total} days are done)",
        ("exchange", "symbol", "day"),
        [(day.exchange, day.symbol, day.date) for day in left],
    )


def _moment(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, tz=UTC):%Y-%m-%d %H:%M:%S}"
