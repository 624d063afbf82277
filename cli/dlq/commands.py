"""`medallion dlq list|show|stats|replay|accept|withdraw`: why trades were rejected, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common.arguments import MOST_ROWS, YEAR_S, check_names, check_span
from cli.common.context import (
    DataDirOption,
    JsonOption,
    YesOption,
    err,
    load_settings,
    out,
    print_json,
    print_table,
)
from cli.common.statements import http_client, rows
from cli.common.work import working
from cli.common.workers import WorkerRules, difference, differing, worker_rules
from cli.dlq.accept import accept
from cli.dlq.message_id import HELP, message_id, parse_message
from cli.dlq.withdraw import withdraw
from config.errors import MedallionError
from config.registry import SymbolRegistry
from config.settings import Settings
from config.valid_times import EARLIEST, END
from schemas.reasons import Reason

if TYPE_CHECKING:
    from clickhouse_connect.driver import Client

    from cli.dlq import resend

app = typer.Typer(help="Dead letters: rejected messages and the reason of each.", no_args_is_help=True)
app.command()(accept)
app.command()(withdraw)

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
# Typer's times have no zone. They are taken as UTC below.
EPOCH, FAR = EARLIEST.replace(tzinfo=None), END.replace(tzinfo=None)
ReasonOption = Annotated[str, typer.Option(help="Only this reason code (see docs/reasons.md).")]
ExchangeOption = Annotated[str, typer.Option(help="Only this exchange code.")]
SymbolOption = Annotated[str, typer.Option(help="Only this symbol, in the exchange's own spelling.")]
TradeOption = Annotated[str, typer.Option("--trade-id", help="Only this trade, by the exchange's id.")]
SinceOption = Annotated[datetime, typer.Option("--from", help="Rejected at or after this time (UTC).", formats=FORMATS)]
UntilOption = Annotated[datetime, typer.Option("--to", help="Rejected before this time (UTC).", formats=FORMATS)]


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S")


ALL = {"exchange": "", "symbol": "", "since": _utc(EPOCH), "until": _utc(FAR)}


def _filters(
    reason: str, exchange: str, symbol: str, trade_id: str, since: datetime, until: datetime
) -> dict[str, object]:
    if reason and reason not in set(Reason):
        raise typer.BadParameter(f"{reason}: no such reason code, see docs/reasons.md", param_hint="--reason")
    check_span(since, until)
    return {
        "reason": reason,
        "exchange": exchange,
        "symbol": symbol,
        "trade_id": trade_id,
        "since": _utc(since),
        "until": _utc(until),
    }


class UnknownTradeError(MedallionError):
    """No dead letter is of the requested trade."""


def _check_names(client: Client, settings: Settings, exchange: str, symbol: str, trade_id: str = "") -> None:
    """Refuse names that are in no dead letter, open or resolved, nor in the settings or the symbols file.

    A trade id can only be in a dead letter.
    """
    (known,) = rows(client, "known_names", {"exchange": exchange, "symbol": symbol, "trade_id": trade_id})
    if known["dead_letters"]:
        return
    check_names(settings, exchange, symbol, canonical=False)
    if trade_id:
        raise UnknownTradeError(
            f"No dead letter, open or resolved, is of trade {trade_id!r}: `medallion lineage trace --trade-id` finds it"
            " in every layer."
        )


@app.command("list")
def list_records(
    reason: ReasonOption = "",
    exchange: ExchangeOption = "",
    symbol: SymbolOption = "",
    trade_id: TradeOption = "",
    since: SinceOption = EPOCH,
    until: UntilOption = FAR,
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1, max=MOST_ROWS)] = 50,
    resolved: Annotated[
        bool,
        typer.Option(
            "--resolved",
            help="Messages that a replay has brought through, each with its first rejection, instead of the open ones.",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, newest first."""
    parameters = {**_filters(reason, exchange, symbol, trade_id, since, until), "limit": limit}
    settings = load_settings(data_dir)
    with http_client(settings) as client:
        found = rows(client, "list_resolved" if resolved else "list", parameters)
        if not found:
            _check_names(client, settings, exchange, symbol, trade_id)
    if as_json:
        print_json(found)
        return
    print_table(
        "Resolved dead letters" if resolved else "Dead letters",
        ("rejected at", "reason", "exchange", "symbol", "trade id", "field", "value", "limit", "raw message")
        + (("rejections", "sent again", "now in") if resolved else ()),
        [
            (
                record["rejected_at"],
                record["reason"],
                record["exchange"],
                record["symbol"],
                record["trade_id"],
                record["field"],
                record["value"][:60],
                record["limit"],
                message_id(record),
                *((record["rejections"], record["sent_at"], record["landed"]) if resolved else ()),
            )
            for record in found
        ],
        empty="none",
    )


@app.command()
def show(
    message: Annotated[list[str] | None, typer.Argument(help=HELP)] = None,
    reason: ReasonOption = "",
    exchange: ExchangeOption = "",
    symbol: SymbolOption = "",
    trade_id: TradeOption = "",
    since: SinceOption = EPOCH,
    until: UntilOption = FAR,
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1, max=MOST_ROWS)] = 5,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show dead letters in full: raw message, Bronze row and rule side by side; resolved ones too."""
    from cli.dlq import dead_letter as one_dead_letter  # noqa: PLC0415 - it imports Polars

    topic, partition, offset = parse_message(message or ()) or ("", 0, 0)
    parameters = {
        **_filters(reason, exchange, symbol, trade_id, since, until),
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "limit": limit,
    }
    with http_client(load_settings(data_dir)) as client:
        found = one_dead_letter.load(client, parameters)
    if as_json:
        print_json(found)
    else:
        for dead_letter in found:
            out.print(one_dead_letter.Panels(dead_letter))
    if not found:
        err.print("No such dead letter: `medallion dlq list` and `medallion dlq list --resolved` list them.")
        raise typer.Exit(1)


@app.command()
def stats(
    exchange: ExchangeOption = "",
    symbol: SymbolOption = "",
    since: SinceOption = EPOCH,
    until: UntilOption = FAR,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count dead letters by reason."""
    check_span(since, until)
    parameters = {"exchange": exchange, "symbol": symbol, "since": _utc(since), "until": _utc(until)}
    settings = load_settings(data_dir)
    with http_client(settings) as client:
        _check_names(client, settings, exchange, symbol)
        if as_json:
            print_json(rows(client, "stats", parameters))
        else:
            print_stats(client, parameters)


def print_stats(client: Client, parameters: Mapping[str, object]) -> None:
    """Print dead letters by reason."""
    found = rows(client, "stats", parameters)
    print_table(
        "Dead letters by reason",
        ("reason", "records", "markets", "first", "last", "latest value"),
        [(r["reason"], r["records"], r["markets"], r["first"], r["last"], r["latest_value"][:60]) for r in found],
        empty="none",
    )


@app.command()
def replay(
    reason: ReasonOption = "",
    exchange: ExchangeOption = "",
    symbol: SymbolOption = "",
    trade_id: TradeOption = "",
    since: SinceOption = EPOCH,
    until: UntilOption = FAR,
    yes: YesOption = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for what was sent.", min=0, max=YEAR_S)] = 60.0,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate dead letters by today's symbols file and parsers; with --yes send those that pass through Silver again.

    Says so if the Silver workers have other rules than this symbols file.

    A message that Bronze could not read is parsed again: its payload by today's parser of the exchange, its time by
    today's Bronze. One raw message can become only one row, so a frame of several trades stays a dead letter.

    It is safe to repeat: a message that is sent twice arrives once, and the next replay completes an interrupted one.
    """
    # Validating takes Polars.
    from cli.dlq import resend  # noqa: PLC0415
    from silver_processor.core.rules import Rules  # noqa: PLC0415

    filters = _filters(reason, exchange, symbol, trade_id, since, until)
    settings = load_settings(data_dir)
    with http_client(settings) as client:
        _check_names(client, settings, exchange, symbol, trade_id)
        rules = Rules.of(SymbolRegistry.load(settings.symbols_file))
        workers = worker_rules(settings, data_dir)
        replayer = resend.Replayer(client, settings, rules, filters)
        progress = resend.ReplayProgress()
        go_on = "Run the same command again: a message that was sent twice lands once." if yes else "Nothing was sent."
        with working("Validating dead letters", go_on, quiet=as_json) as work:

            def validated(dead_letters: int, passing: int) -> None:
                work.show(
                    f"{dead_letters:,} validated, {passing:,} {'sent' if yes else 'pass'}",
                    "the dead letters after these",
                )

            changes = replayer.run(send=yes, progress=validated)
            if yes:
                sent = resend.count_passing(changes)

                def followed(now: resend.ReplayProgress) -> None:
                    arrived = f"{sent:,} sent, of these {sent - now.pending:,} arrived"
                    work.show(arrived, f"{now.pending:,} on their way", doing="waiting for what was sent")

                progress = replayer.follow(timeout, progress=followed)
    passing = resend.count_passing(changes)
    if as_json:
        print_json(
            {
                "dry_run": not yes,
                "rules_version": rules.version,
                "workers": workers,
                "rules_differ": bool(differing(workers, rules.version)) if workers else None,
                "records": sum(change.records for change in changes),
                "passing": passing,
                "changes": changes,
                "sent": passing if yes else 0,
                **asdict(progress),
            }
        )
    else:
        _print_replay(changes, passing, progress if yes else None, rules.version)
        _print_difference(workers, rules.version, settings)
    if progress.again or progress.pending:
        err.print(
            f"{progress.again:,} rejected again" + (f" by rules {progress.again_by}" if progress.again else "") + f", "
            f"{progress.pending:,} still on their way. Do all Silver workers read this symbols file "
            f"({settings.symbols_file}), and run (`medallion status`)? Then run the same command again."
        )
        raise typer.Exit(1)


def _print_difference(workers: list[WorkerRules], rules_version: str, settings: Settings) -> None:
    if words := difference(workers, rules_version, settings.symbols_file):
        err.print(words, style="yellow")


def _print_replay(
    changes: list[resend.VerdictCount], passing: int, progress: resend.ReplayProgress | None, rules_version: str
) -> None:
    print_table(
        f"Dead letters validated by rules {rules_version}",
        ("rejected as", "now", "records", "why"),
        [(change.before, change.after or "passes", change.records, change.why) for change in changes],
        empty="none",
    )
    if progress is None:
        out.print(f"{passing:,} would pass. Send them through with --yes." if passing else "None would pass.")
    else:
        out.print(
            f"{passing:,} sent: {progress.silver:,} are in Silver, {progress.duplicates:,} are counted duplicates, "
            f"{progress.again:,} were rejected again, {progress.pending:,} are on their way."
        )
