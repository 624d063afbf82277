"""`medallion produce` and `medallion replay`: publish live and recorded messages to the raw topics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
import structlog
import typer

from cli.common.arguments import HTTP, WEBSOCKET, YEAR_S, check_address
from cli.common.context import DataDirOption, JsonOption, load_settings, out, print_json
from cli.common.work import working
from cli.messages.replay_window import PinOption, SinceOption, UntilOption, check_source, replay_window
from config.errors import MedallionError
from config.process import logs
from config.schedule import parse_speed
from config.symbols.markets import read_markets
from producers.counters import FrameCounts
from producers.exchanges import CODES
from producers.kafka.publisher import FLUSH_S, KafkaPublisher
from producers.live import run_until_signal
from producers.replay.run import replay as replay_files


class NoConnectionError(MedallionError):
    """No connection of a producer came up."""


def produce(
    exchange: Annotated[
        str,
        typer.Option(help=f"Code of exchange and market: {CODES}; or any name that ccxt knows."),
    ],
    symbols: Annotated[
        str,
        typer.Option(
            help="Symbols in the exchange's own spelling, separated by commas; for an exchange through ccxt, ccxt's."
        ),
    ],
    endpoint: Annotated[str | None, typer.Option(help="WebSocket address to use instead of the exchange's.")] = None,
    rest_endpoint: Annotated[
        str | None,
        typer.Option(help="REST address for missed trades; with --endpoint alone, missed trades are not fetched."),
    ] = None,
    markets: Annotated[
        Path | None,
        typer.Option(
            help="For ccxt: a file with the exchange's markets, as for `symbols build --markets`, instead of a request."
        ),
    ] = None,
    duration: Annotated[float | None, typer.Option(help="Stop after this many seconds.", min=0, max=YEAR_S)] = None,
    flush_timeout: Annotated[
        float,
        typer.Option(
            help="Seconds to wait for the broker at the end; undelivered messages are then named.", min=0, max=YEAR_S
        ),
    ] = FLUSH_S,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish an exchange's live trades until Ctrl-C or SIGTERM, then flush.

    The exit code is 1 if a message was read and not delivered, or if no connection came up.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "producer")
    names = [name.strip() for name in symbols.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("name at least one symbol, for example BTCUSDT", param_hint="--symbols")
    check_address(endpoint, WEBSOCKET, "--endpoint")
    check_address(rest_endpoint, HTTP, "--rest-endpoint")
    report = run_until_signal(
        exchange,
        names,
        settings,
        endpoint=endpoint,
        rest_endpoint=rest_endpoint,
        duration_s=duration,
        markets=read_markets(markets) if markets is not None else None,
        flush_s=flush_timeout,
    )
    if not as_json and not sys.stdout.isatty():
        # The standard output of a service is its log.
        counts = orjson.loads(orjson.dumps(report))
        structlog.get_logger(__name__).info("producer ended", exchange=exchange, **counts)
    else:
        _print_counts(report, as_json)
    if not report.connections:
        causes = ", ".join(f"{cause} {number:,} times" for cause, number in report.disconnects.most_common())
        raise NoConnectionError(
            f"No connection to {endpoint or exchange} came up in {report.seconds:.1f} s ({causes or 'no answer yet'}):"
            " the log above says why. Check the address, the network, or a proxy in between."
        )


def replay(
    exchange: Annotated[str, typer.Option(help=f"Code of the exchange and market they were recorded from: {CODES}.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings: one verbatim message a line, plain or .gz.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    pin: PinOption = None,
    speed: Annotated[str, typer.Option(help="N times as fast as recorded, or max.")] = "max",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Publish the readable part of a damaged file, and files that seem to be no recordings of this market.",
        ),
    ] = False,
    unlisted: Annotated[
        bool,
        typer.Option("--unlisted", help="Take an exchange code that no parser has: each message goes to the DLQ."),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish recorded WebSocket messages through the same parser and publisher as live ones.

    With --from and --to instead of files, it publishes the Kafka messages of that time again, unchanged, from Raw. If
    one of the files is damaged or no recording of this exchange and market, nothing is published; the error says what
    the file seems to be.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "replay")
    pace = parse_speed(speed)
    check_source(files, since, until, pin)
    go_on = "Run the same command again: a trade that is published twice is a counted duplicate."
    with working("Replaying", go_on, quiet=as_json) as work:

        def watch(counts: FrameCounts, share: float) -> None:
            work.show(f"{counts.published:,} messages published", f"{1 - share:.1%} of them", share=share)

        report: FrameCounts
        if since is not None and until is not None:
            report = replay_window(settings, exchange, since, until, speed=pace, pin=pin or "", show=watch)
        else:
            with KafkaPublisher(settings) as publisher:
                report = replay_files(
                    files or (),
                    exchange,
                    publisher,
                    settings,
                    speed=pace,
                    progress=watch,
                    force=force,
                    unlisted=unlisted,
                )
    _print_counts(report, as_json)


def _print_counts(counts: FrameCounts, as_json: bool) -> None:
    if as_json:
        print_json(counts)
        return
    rate = counts.published / counts.seconds if counts.seconds else 0.0
    out.print(
        f"{counts.frames:,} messages read: {counts.trades:,} trades, {counts.unrecognised:,} unrecognised, "
        f"{sum(counts.control.values()):,} control. {counts.published:,} published in {counts.seconds:.1f} s "
        f"({rate:,.0f}/s)."
    )
