"""`medallion quality check`: compares our candles with the venue's bars, cell by cell, and looks for anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from jinja2 import Environment, FileSystemLoader

from cli.common.arguments import MOST_ROWS, check_names, check_span
from cli.common.context import DataDirOption, JsonOption, counted, load_settings, out, print_json, print_table
from cli.common.work import working
from config.errors import MedallionError
from config.process import logs
from config.registry import SymbolRegistry
from config.whole_file import write_whole
from ddl.layers import load_layers
from series.quality.anomalies import MEANINGS as KINDS
from series.quality.anomalies import Anomaly, AnomalyCheck, by_kind
from series.quality.causes import AGREEING, MEANINGS
from series.quality.check import MarketReport, QualityCheck, stored_markets, summary, yesterday
from series.store import SeriesStore

app = typer.Typer(help="Whether candles and series can be trusted.", no_args_is_help=True)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_TEMPLATE = "quality.html"


class NothingToCompareError(MedallionError):
    """No bars of the venue are stored for the span and the markets."""


class DisagreementError(MedallionError):
    """Candles differ from the venue's bars, or there are anomalies."""


@app.callback()
def quality() -> None:
    """Whether candles and series can be trusted."""


@app.command("check")
def check(
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=_FORMATS, help="From this UTC day or time on. Default: yesterday."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_FORMATS, help="To before this UTC day or time. Default: now.")
    ] = None,
    exchange: Annotated[str, typer.Option(help="Only this code of exchange and market.", show_default=False)] = "",
    symbol: Annotated[str, typer.Option(help="Only this canonical symbol.", show_default=False)] = "",
    frame: Annotated[str, typer.Option(help="The candles to compare: 1m, 1h, 1d.")] = "1m",
    limit: Annotated[int, typer.Option(help="Print at most this many differences.", min=0, max=MOST_ROWS)] = 20,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a report for a browser to this file.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every cell of our candles with the venue's bars, and find the cause and the trades of each difference.

    Only markets whose bars are stored (`medallion series run bars`) can be compared. The view quality_checks has the
    verdicts. The command also looks for stale series, days that lack rows, prices that differ from other venues', jumps
    and contradicting duplicates; the view quality_anomalies has these. The exit code is 1 if there is an anomaly, or if
    a window differs by more than rounding.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "quality")
    frames = {timeframe.code: timeframe.seconds for timeframe in load_layers().timeframes}
    if frame not in frames:
        raise typer.BadParameter(f"no frame {frame!r}; one of {', '.join(frames)}", param_hint="--frame")
    until = end.replace(tzinfo=UTC) if end else datetime.now(UTC)
    since = start.replace(tzinfo=UTC) if start else yesterday(datetime.now(UTC))
    check_span(since, until)
    check_names(settings, exchange, symbol, canonical=True)
    store, registry = SeriesStore(settings), SymbolRegistry.load(settings.symbols_file)
    markets = [
        market
        for market in stored_markets(store, registry, frame, frames[frame])
        if exchange in {"", market.exchange} and symbol in {"", market.symbol}
    ]
    days = (until - since) / timedelta(days=1) * max(len(markets), 1)
    with working("Comparing candles", "Run the same command again.", quiet=as_json) as work:
        done = 0

        def tell() -> None:
            nonlocal done
            done += 1
            work.show(f"{done:,} days", "the rest", share=min(done / days, 1.0))

        reports = [QualityCheck(store).run(market, since, until, tell) for market in markets]
        anomalies = AnomalyCheck(store, registry, settings).run(since, until, exchange, symbol)
    reports = [report for report in reports if report.windows]
    if not reports and not anomalies:
        raise NothingToCompareError(
            f"No bars of {frame} are stored from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}:"
            " `medallion series run bars` fetches them."
        )
    if html is not None:
        write_whole(html, _page(reports, anomalies, since, until).encode())
    show_check(reports, anomalies, limit, as_json)
    differing = {cause: count for cause, count in _causes(reports).items() if cause not in AGREEING}
    faults = []
    if differing:
        faults.append(f"{sum(differing.values()):,} windows differ: {counted(differing)}. See quality_checks.")
    if anomalies:
        kinds = {kind: count for kind, count in by_kind(anomalies).items() if count}
        faults.append(f"{len(anomalies):,} anomalies: {counted(kinds)}. See quality_anomalies.")
    if faults:
        raise DisagreementError(" ".join(faults))


def show_check(reports: Sequence[MarketReport], anomalies: Sequence[Anomaly], limit: int, as_json: bool) -> None:
    """Print the counts of each market, and at most `limit` differences and `limit` anomalies."""
    if as_json:
        print_json({"summary": summary(reports), "markets": reports, "anomalies": anomalies})
        return
    _show_markets(reports, limit)
    _show_anomalies(anomalies, limit)


def _show_anomalies(anomalies: Sequence[Anomaly], limit: int) -> None:
    if not anomalies[:limit]:
        return
    columns = ("kind", "series", "exchange", "symbol", "at", "value", "bound", "seen")
    rows = [
        (one.kind, one.series, one.exchange, one.symbol, one.at, f"{one.value:,.6g}", f"{one.bound:,.6g}", one.detail)
        for one in anomalies[:limit]
    ]
    print_table("What looks wrong", columns, rows)
    if len(anomalies) > limit:
        out.print(f"{len(anomalies) - limit:,} more are in quality_anomalies (--limit prints more).")


def _show_markets(reports: Sequence[MarketReport], limit: int) -> None:
    columns = ("exchange", "symbol", "frame", "windows", "equal", "cells compared", "differ because")
    rows = [
        (one.exchange, one.symbol, one.frame, one.windows, one.equal, one.cells, counted(one.causes)) for one in reports
    ]
    print_table("Candles against the venue's", columns, rows)
    found = list(_findings(reports))
    if not found[:limit]:
        return
    print_table(
        "Differences", ("exchange", "symbol", "window", "cause", "cells", "where"), [row[:6] for row in found[:limit]]
    )
    if len(found) > limit:
        out.print(f"{len(found) - limit:,} more are in quality_checks (--limit prints more).")


def _findings(reports: Sequence[MarketReport]) -> Iterator[tuple[Any, ...]]:
    for one in reports:
        for row in one.findings:
            cells = [" ".join(cell) for cell in zip(row["differing"], row["ours"], row["theirs"], strict=True)]
            place = (one.exchange, one.symbol, row["window_start"])
            yield (
                *place,
                row["cause"],
                ", ".join(row["differing"]) or row["result"],
                row["detail"],
                cells,
                row["trade_ids"],
            )


def _causes(reports: Sequence[MarketReport]) -> dict[str, int]:
    return {cause: count for cause, count in summary(reports).items() if cause in MEANINGS}


def _page(reports: Sequence[MarketReport], anomalies: Sequence[Anomaly], since: datetime, until: datetime) -> str:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template(_TEMPLATE).render(
        reports=reports,
        findings=list(_findings(reports)),
        meanings=MEANINGS,
        anomalies=anomalies,
        kinds=KINDS,
        since=since,
        until=until,
    )
