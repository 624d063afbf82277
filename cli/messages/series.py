"""`medallion series run|list|schema`: fetches series that venues and others publish, and shows what is stored."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.common.arguments import HTTP, check_address, check_names, check_span
from cli.common.context import DataDirOption, JsonOption, load_settings, out, print_json, print_table
from cli.common.work import working
from config.process import logs
from config.registry import SymbolRegistry
from config.settings import Settings
from series.avro import avro_schema
from series.declaration import Series, load_series, series_named
from series.errors import IncompleteError
from series.providers.model import Question
from series.questions import DEFAULT_SOURCE, default_exchange, open_provider, questions_of
from series.run import RunReport, SeriesRun
from series.store import SeriesStore

app = typer.Typer(
    help="Series that venues and others publish ready-made: bars, funding rates, a sentiment index.",
    no_args_is_help=True,
)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_NAMES = ", ".join(series.name for series in load_series())


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help=f"The series: {_NAMES}.")],
    provider: Annotated[
        str | None,
        typer.Option(
            help="binance: its files of bars and funding rates (data.binance.vision). ccxt: any exchange's REST"
            " interface. polygon, alpaca, yahoo: bars of shares. alternative_me: the index."
            " Default: the first provider of the series.",
            show_default=False,
        ),
    ] = None,
    exchange: Annotated[
        str | None,
        typer.Option(
            help="Code of exchange and market, or ccxt's name. Default: binance; for shares the provider's name.",
            show_default=False,
        ),
    ] = None,
    symbol: Annotated[
        str, typer.Option(help="Symbols in the exchange's own spelling, separated by commas.", show_default=False)
    ] = "",
    frame: Annotated[str, typer.Option(help="Length of the bars: 1m, 1h, 1d.")] = "1m",
    start: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=_FORMATS, help="From this UTC day or time on. Default: from the newest stored row on."
        ),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_FORMATS, help="To before this UTC day or time. Default: now.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="For binance: folder or URL of its files. A folder may have any structure.")
    ] = DEFAULT_SOURCE,
    rest_endpoint: Annotated[
        str | None, typer.Option(help="Address to ask instead of the provider's REST interface.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(help="Symbols at a time.", min=1, max=32)] = 2,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch and store the rows that are not stored yet. After an interruption, run the same command again.

    With --from, days that are stored in full are left out. Every answer is kept as it came; a row that breaks a rule is
    a dead letter in series_dead_letters. The exit code is 1 if a provider did not answer everything; the rest is
    stored.
    """
    series = _series(name)
    chosen = provider or series.providers[0]
    if chosen not in series.providers:
        raise typer.BadParameter(
            f"{chosen!r} has no {name}; one of {', '.join(series.providers)}", param_hint="--provider"
        )
    check_address(rest_endpoint, HTTP, "--rest-endpoint")
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "series")
    until = end.replace(tzinfo=UTC) if end else datetime.now(UTC)
    since = start.replace(tzinfo=UTC) if start else None
    check_span(since, until)
    exchange = exchange or default_exchange(series, chosen)
    questions = _questions(series, settings, exchange, symbol, frame, since or until, until)

    async def fetch() -> RunReport:
        opened = open_provider(chosen, exchange, source, rest_endpoint, settings)
        try:
            series_run = SeriesRun(SeriesStore(settings), opened, workers)
            return await series_run.run(questions, again=since is not None, progress=watch)
        finally:
            await opened.close()

    go_on = "Run the same command again: stored rows are not fetched again."
    with working(f"Fetching {name}", go_on, quiet=as_json) as work:

        def watch(report: RunReport) -> None:
            work.show(
                f"{report.total('answers'):,} answers, {report.total('rows'):,} rows stored",
                f"{len(questions) - report.done} of {len(questions)} questions",
                share=report.done / len(questions),
            )

        report = asyncio.run(fetch())
    show_report(report, as_json)
    if report.failures:
        failures = "\n".join(f"  {failure}" for failure in report.failures)
        raise IncompleteError(
            f"{len(report.failures)} of {len(questions)} questions are not answered in full:\n{failures}"
        )


@app.command("list")
def list_series(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show every series with its providers, and the stored rows of each market."""
    stored = SeriesStore(load_settings(data_dir)).rows("stored", {})
    declared = [
        {"series": series.name, "about": series.about, "key": series.key, "providers": series.providers}
        for series in load_series()
    ]
    if as_json:
        print_json({"declared": declared, "stored": stored})
        return
    print_table(
        "Series",
        ("series", "what", "providers"),
        [(one["series"], one["about"], ", ".join(one["providers"])) for one in declared],
    )
    columns = ("series", "exchange", "symbol", "frame", "row_count", "oldest_time", "newest_time", "received_at")
    print_table("Stored", columns, [[row[column] for column in columns] for row in stored], empty="nothing yet")


@app.command("schema")
def schema(name: Annotated[str, typer.Argument(help=f"The series: {_NAMES}.")]) -> None:
    """Print the Avro schema of the series' typed rows.

    With this schema a reader reads the output of `medallion query --format Avro` with names, exact decimals and times.
    It also reads files of older and newer versions of the series: a column that they lack is null.
    """
    print_json(avro_schema(_series(name)))


def _series(name: str) -> Series:
    try:
        return series_named(name)
    except KeyError:
        raise typer.BadParameter(f"no series {name!r}; one of {_NAMES}", param_hint="NAME") from None


def _questions(
    series: Series, settings: Settings, exchange: str, symbols: str, frame: str, start: datetime, end: datetime
) -> list[Question]:
    if series.frame and frame not in series.frames:
        raise typer.BadParameter(f"no frame {frame!r}; one of {', '.join(series.frames)}", param_hint="--frame")
    names = list(dict.fromkeys(name.strip() for name in symbols.split(",") if name.strip()))
    if "symbol" in series.key and not names:
        raise typer.BadParameter("name at least one symbol, for example BTCUSDT", param_hint="--symbol")
    if "symbol" in series.key and exchange not in series.in_sessions:
        for name in names:
            check_names(settings, exchange, name, canonical=False)
    registry = SymbolRegistry.load(settings.symbols_file)
    return questions_of(series, registry, exchange, names, frame, start, end)


def show_report(report: RunReport, as_json: bool) -> None:
    """Print the report of a run."""
    if as_json:
        print_json({"questions": report.questions, "failures": report.failures})
        return
    rows = [
        (one.name, one.start, one.end, one.answers, one.rows, one.rejected, ", ".join(one.reasons))
        for one in report.questions
    ]
    print_table("Stored", ("what", "from", "to", "answers", "rows", "rejected", "because"), rows)
    if report.total("rejected"):
        out.print("The rejected rows are in series_dead_letters, with the reason of each.")
