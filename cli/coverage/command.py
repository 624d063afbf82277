"""`medallion coverage`: which days of which market are complete, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.common.arguments import check_names, check_span
from cli.common.context import DataDirOption, JsonOption, load_settings, out, print_json, print_table
from cli.common.state_folder import backfill_checkpoint, find_state_folder
from cli.coverage.evidence import Asked, canonical_symbols, read_series, read_trades
from cli.coverage.verdicts import MEANINGS, TRADES, CoverageDay, joined
from config.registry import SymbolRegistry
from ddl.layers import load_layers
from producers.backfill.checkpoint import read_steps
from series.declaration import load_series
from series.schedules.declaration import SeriesSchedule, load_schedules

_FORMATS = ["%Y-%m-%d"]
_KINDS = (TRADES, *(series.name for series in load_series()))


def coverage(
    exchange: Annotated[str, typer.Option(help="Only this code of exchange and market.", show_default=False)] = "",
    symbol: Annotated[
        str, typer.Option(help="Only this symbol, canonical or in the exchange's own spelling.", show_default=False)
    ] = "",
    data: Annotated[str, typer.Option(help=f"Only this: {', '.join(_KINDS)}.", show_default=False)] = "",
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=_FORMATS, help="From this UTC day on. Default: the first known day."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", formats=_FORMATS, help="To before this UTC day. Default: today is the last day."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="The back-fill's checkpoint. Default: as in `medallion backfill`.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show for each market and UTC day whether its trades and series are complete, partial or missing, and why.

    Successive days with the same status and reason are one line; --json has each day. If it cannot be known whether a
    day is complete, its status is unknown. docs/coverage.md says how each status and reason is found.
    """
    settings = load_settings(data_dir)
    check_span(start, end)
    in_sessions = any(exchange in one.in_sessions for one in load_series())
    if not in_sessions:
        check_names(settings, exchange, symbol, canonical=True)
    if data not in {"", *_KINDS}:
        raise typer.BadParameter(f"no {data!r}; one of {', '.join(_KINDS)}", param_hint="--data")
    registry = SymbolRegistry.load(settings.symbols_file)
    symbols = [symbol] if symbol else []
    if symbol and not in_sessions:
        symbols = canonical_symbols(registry, exchange, symbol)
    asked = Asked(exchange, symbols, start.date() if start else None, end.date() if end else None)
    place = find_state_folder(data_dir, settings)
    found = []
    if data in {"", TRADES}:
        steps = read_steps(state or backfill_checkpoint(place), place.name)
        found += read_trades(settings, registry, steps, asked)
    if data != TRADES:
        schedules = load_schedules(settings.schedules_file, [frame.code for frame in load_layers().timeframes])
        scheduled = [one for one in schedules if isinstance(one, SeriesSchedule)]
        found += [one for one in read_series(settings, registry, scheduled, asked) if data in {"", one.data}]
    # Each market's trades come before its series.
    found.sort(key=lambda one: (one.exchange, one.symbol, _KINDS.index(one.data), one.frame, one.day))
    if as_json:
        print_json(found)
        return
    _show(found)


def _show(found: list[CoverageDay]) -> None:
    runs = joined(found)
    market, verdict = ("exchange", "symbol", "data"), ("status", "why", "sources", "rows", "detail")
    columns = (*market, "first day", "last day", "days", *verdict)
    shown = [
        (
            run.first.exchange,
            run.first.symbol,
            " ".join(part for part in (run.first.data, run.first.frame) if part),
            run.first.day,
            run.last,
            run.days,
            run.first.status,
            run.first.why,
            ", ".join(run.first.sources),
            run.rows,
            run.detail,
        )
        for run in runs
    ]
    print_table(f"Coverage at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", columns, shown, empty="nothing is known")
    whys = {run.first.why for run in runs}
    for why, meaning in MEANINGS.items():
        if why in whys:
            out.print(f"{why}: {meaning}.")
