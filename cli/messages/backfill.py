"""`medallion backfill`: publishes an exchange's history to the raw topics."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.common.arguments import HTTP, check_address, check_span, near
from cli.common.context import DataDirOption, JsonOption, ServerError, err, load_settings, out, print_json, print_table
from cli.common.state_folder import BACKFILL_CHECKPOINT, backfill_checkpoint, find_state_folder
from cli.common.work import working
from cli.coverage.evidence import days_lacking_nothing, days_that_left
from config.process import logs
from config.registry import SymbolRegistry, own_names
from config.settings import Settings
from producers.backfill import dumps, from_dumps
from producers.backfill.checkpoint import BackfillCheckpoint
from producers.backfill.dumps import Day
from producers.backfill.from_dumps import PlannedDay
from producers.backfill.from_rest import Estimate, IncompleteError, RestBackfill
from producers.backfill.report import BackfillReport, DumpReport
from producers.exchanges import CODES, REGISTRY

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]
_REST = "rest"
# Wildcards in file names. No exchange has them in its symbols.
_PATTERN = frozenset("*?[]{}\\")


def backfill(
    exchange: Annotated[str, typer.Option(help=f"Code of exchange and market: {CODES}.")],
    symbols: Annotated[
        str,
        typer.Option(help="Symbols in the exchange's own spelling, separated by commas; each in full, no patterns."),
    ],
    start: Annotated[datetime, typer.Option("--from", formats=_FORMATS, help="From this UTC day or time on.")],
    end: Annotated[datetime, typer.Option("--to", formats=_FORMATS, help="To before this UTC day or time.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="`rest`: the exchange's REST interface; otherwise a folder or URL of Binance's daily trade files."
            f" Default: {dumps.URL.removeprefix('https://')} for {', '.join(dumps.markets())}, rest for others."
        ),
    ] = None,
    rest_endpoint: Annotated[
        str | None, typer.Option(help="Address to ask instead of the exchange's REST interface.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Days or symbols at a time.", min=1, max=32)] = 2,
    state: Annotated[
        Path | None,
        typer.Option(
            help=f"The checkpoint file, which records what is done. Default: {BACKFILL_CHECKPOINT} in the stack's data"
            " folder; for a stack of the MEDALLION_… endpoints, in folder medallion of this user's $XDG_STATE_HOME.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Read files of symbols that the registry does not have: their trades go to the DLQ."
        ),
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also read complete days (`medallion coverage`).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be read.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish historical trades. After an interruption, run the same command again: done parts are not read again.

    Complete days (`medallion coverage`) are left out, unless --again. A file is checked whole before its first trade is
    published. It is done when every row of it is published, and each hole in its trade ids is a row of producer_gaps.
    It is read again when its checksum has changed.

    The exit code is 1 if a file is missing, damaged or without trades, or if the exchange does not serve every trade.
    The message names what is missing; the rest is published.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "backfill")
    names = list(dict.fromkeys(name.strip() for name in symbols.split(",") if name.strip()))
    source = _default_source(exchange, rest_endpoint) if source is None else source
    start, end = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    _check(exchange, names, start, end, source)
    check_address(rest_endpoint, HTTP, "--rest-endpoint")
    registry = SymbolRegistry.load(settings.symbols_file)
    if source != _REST and not force:
        _check_known(exchange, names, registry, settings.symbols_file)
    place = find_state_folder(data_dir, settings)
    with BackfillCheckpoint(state or backfill_checkpoint(place), place.name) as checkpoint:
        needless = {} if again else _needless(settings, registry, checkpoint, exchange, names, start, end)
        over_rest = RestBackfill(exchange, names, start, end, rest_endpoint, needless=needless)
        every = from_dumps.days(exchange, names, start, end)
        wanted = from_dumps.left_of(every, start, end, needless, checkpoint)
        if source == _REST:
            spans = [(window.symbol, *window.span_us) for window in over_rest.tasks(checkpoint)]
        else:
            spans = [(day.symbol, *day.span_us) for day in wanted]
        left_out = [day.name for day in every if not _is_touched(day, spans)]
        if dry_run and source == _REST:
            _show_estimates(asyncio.run(over_rest.estimate(checkpoint)), left_out, as_json)
            return
        if dry_run:
            _show_plan(from_dumps.plan(wanted, start, end, checkpoint, source), left_out, source, as_json)
            return
        parts = "windows" if source == _REST else "days"
        go_on = "Run the same command again: what is done is not read again."
        with working("Back-filling", go_on, quiet=as_json) as work:

            def watch(report: BackfillReport) -> None:
                work.show(
                    f"{report.done:,} of {report.parts:,} {parts}, {report.published:,} trades published",
                    f"{report.parts - report.done:,} of {report.parts:,} {parts}",
                    share=report.share,
                )

            if source == _REST:
                report = asyncio.run(over_rest.run(settings, checkpoint, workers=workers, progress=watch))
            else:
                report = from_dumps.backfill(
                    wanted, start, end, settings, checkpoint, source=source, workers=workers, progress=watch
                )
            report.left_out = len(left_out)
            _note_left_days(report, settings, [day for day in every if _is_touched(day, spans)])
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report.missing:
        raise IncompleteError(
            f"{'; '.join(report.missing)}. All others are published. These are `unfillable` in producer_gaps."
        )
    if isinstance(report, DumpReport) and report.failures:
        failures = "\n".join(f"  {failure}" for failure in report.failures)
        raise IncompleteError(f"{len(report.failures)} of {report.parts} files are not done:\n{failures}")


def _check(exchange: str, names: list[str], start: datetime, end: datetime, source: str) -> None:
    if exchange not in REGISTRY:
        raise typer.BadParameter(f"no {exchange!r}; one of {', '.join(REGISTRY)}", param_hint="--exchange")
    if not names:
        raise typer.BadParameter("name at least one symbol, for example BTCUSDT", param_hint="--symbols")
    # A dump's symbol is part of a path and of an address.
    refused = _PATTERN if source == _REST else _PATTERN | {"/"}
    for name in names:
        if refused.intersection(name) or not name.isprintable() or name.startswith("."):
            raise typer.BadParameter(
                f"{name!r} is no symbol: write each symbol in full, separated by commas", param_hint="--symbols"
            )
    if source != _REST and exchange not in dumps.markets():
        raise typer.BadParameter(f"no dumps of {exchange!r}: use --source rest", param_hint="--source")
    if "://" in source:
        check_address(source, HTTP, "--source")
    elif source != _REST and not (source and Path(source).is_dir()):
        raise typer.BadParameter(
            f"{source!r} is no folder: give a folder, an address, or {_REST}", param_hint="--source"
        )
    check_span(start, end)


def _default_source(exchange: str, rest_endpoint: str | None) -> str:
    return dumps.URL if exchange in dumps.markets() and rest_endpoint is None else _REST


def _check_known(exchange: str, names: list[str], registry: SymbolRegistry, symbols_file: Path) -> None:
    """Check that the registry has these symbols. REST needs no check: it refuses unknown names."""
    known = own_names(registry.content.exchanges.get(exchange, {}))
    for name in names:
        if name not in known:
            raise typer.BadParameter(
                f"{symbols_file} has no {name!r} of {exchange}{near(name, known)}:"
                " all of its trades would go to the DLQ. Add it (`medallion symbols build`), or give --force",
                param_hint="--symbols",
            )


def _needless(
    settings: Settings,
    registry: SymbolRegistry,
    checkpoint: BackfillCheckpoint,
    exchange: str,
    names: Sequence[str],
    start: datetime,
    end: datetime,
) -> Mapping[str, Collection[date]]:
    """The complete days of each symbol. {} if ClickHouse is away: a back-fill needs only the broker."""
    try:
        return days_lacking_nothing(settings, registry, checkpoint.steps, exchange, names, start, end)
    except ServerError as error:
        err.print(f"warning: nobody knows which days are complete, so all of them are read. {error}", markup=False)
        return {}


def _note_left_days(report: BackfillReport, settings: Settings, read: Sequence[Day]) -> None:
    """Set `left_days`: those of the days that were read. None if ClickHouse is away."""
    if not report.published:
        return
    dates = {day.date for day in read}
    try:
        report.left_days = [str(day) for day in days_that_left(settings, min(dates), max(dates)) if day in dates]
    except ServerError as error:
        err.print(f"warning: nobody knows which of these days have left ClickHouse. {error}", markup=False)


def _is_touched(day: Day, spans: Sequence[tuple[str, int, int]]) -> bool:
    start_us, end_us = day.span_us
    return any(symbol == day.symbol and since < end_us and until > start_us for symbol, since, until in spans)


def _show(report: BackfillReport) -> None:
    if report.left_out:
        out.print(_left_out(report.left_out))
    if not isinstance(report, DumpReport):
        out.print(
            f"{report.published:,} trades of {report.parts} windows published, {report.skipped} were done before."
        )
    else:
        out.print(
            f"{report.published:,} trades of {report.parts} days published, {report.skipped} were done before"
            f"{f', {report.changed} have changed since and were read again' if report.changed else ''}."
        )
        if report.dead or report.repeated:
            out.print(f"{report.dead:,} rows are no trades (in the DLQ), {report.repeated:,} repeat an earlier id.")
        for words in report.shrunk:
            out.print(
                f"Fewer than before: {words}. Silver keeps the others until `medallion dlq withdraw`.", markup=False
            )
        for words in report.ignored:
            out.print(f"Not read: {words}", markup=False)
        for name in report.empty:
            out.print(f"No trades that day, as the exchange's checksum file says: {name}", markup=False)
    if report.gaps:
        out.print(
            f"{report.gaps:,} gaps found, {report.gap_trades:,} trades: rows of producer_gaps. A live producer fetches"
            " them over REST when it starts, and so does --source rest."
        )
    if report.left_days:
        first, last = report.left_days[0], report.left_days[-1]
        out.print(
            f"{len(report.left_days):,} of these days have left ClickHouse ({first} to {last}): trades that Iceberg has"
            " count twice now. After the next offload `medallion rederive` of these days leaves each once."
        )
    if report.gaps_healed:
        out.print(f"{report.gaps_healed:,} known gaps are full now.")


def _left_out(days: int) -> str:
    return f"{days:,} days are complete and left out (`medallion coverage`; --again reads them)."


def _show_estimates(estimates: list[Estimate], left_out: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json(estimates)
        return
    if left_out:
        out.print(_left_out(len(left_out)))
    rows = [
        (
            task.symbol,
            task.start,
            task.end,
            task.trades,
            task.requests,
            f"{task.seconds:,.0f}",
            "done before" if task.done else (f"none before {_moment(task.unreachable[1])}" if task.unreachable else ""),
        )
        for task in estimates
    ]
    print_table("Would be fetched", ("symbol", "from", "to", "trades", "requests", "seconds at least", ""), rows)


def _show_plan(planned: list[PlannedDay], left_out: Sequence[str], source: str, as_json: bool) -> None:
    to_read = [part for part in planned if part.what != "done"]
    done = len(planned) - len(to_read)
    if as_json:
        plan: dict[str, Any] = {
            "source": source,
            "days": [part.day.name for part in to_read],
            "done": done,
            "left_out": left_out,
            "files": [{"day": part.day.name, "file": part.file, "what": part.what} for part in planned],
            "ignored": [words for part in planned for words in part.ignored],
        }
        print_json(plan)
        return
    if left_out:
        out.print(_left_out(len(left_out)))
    print_table(
        f"Would be read from {source} ({done} of {len(planned)} days are done)",
        ("exchange", "symbol", "day", "what", "file"),
        [(part.day.exchange, part.day.symbol, part.day.date, part.what, part.file) for part in to_read],
    )
    for words in (words for part in planned for words in part.ignored):
        out.print(f"Not read: {words}", markup=False)


def _moment(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, tz=UTC):%Y-%m-%d %H:%M:%S}"
