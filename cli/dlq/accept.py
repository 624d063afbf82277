"""`medallion dlq accept`: puts another version of trades into Silver, Gold and the cold tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common.arguments import check_span
from cli.common.context import DataDirOption, JsonOption, YesOption, err, load_settings, out, print_json, print_table
from cli.common.work import working
from cli.dlq.message_id import HELP, parse_message
from config.valid_times import EARLIEST_US, END_US

if TYPE_CHECKING:
    from offload.accept import AcceptPlan, Correction, TradeVersion
    from offload.clickhouse.tiers import Tiers
    from offload.rederive.run import DayReport

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
# Trades that are printed; `--json` has all.
SHOWN = 50
LONGEST_LIST = 3


def accept(
    message: Annotated[list[str] | None, typer.Argument(help=HELP)] = None,
    exchange: Annotated[str, typer.Option(help="Only this exchange code.")] = "",
    symbol: Annotated[str, typer.Option(help="Only this symbol, in the exchange's own spelling.")] = "",
    trade_id: Annotated[str, typer.Option("--trade-id", help="Only this trade.")] = "",
    since: Annotated[
        datetime | None, typer.Option("--from", help="Trades at or after this event time (UTC).", formats=FORMATS)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", help="Trades before this event time (UTC).", formats=FORMATS)
    ] = None,
    yes: YesOption = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept the newest version of trades that contradict Silver: show old and new; with --yes change them.

    Of each trade the newest message with reason trade_contradicts counts. An older one, or one that was superseded, is
    taken by its message, as `dlq list` prints it. Silver, Gold and the cold tables follow by
    re-derivation of the days touched, which must be over. If it is killed, the same command completes the work.
    """
    # Importing Polars and the Iceberg libraries takes a second, which the group's other commands do not need.
    from cli.common.tiers import tiers_of  # noqa: PLC0415
    from offload.accept import DeadLetterFilter, plan_accept  # noqa: PLC0415

    check_span(since, until)
    named = parse_message(message or ())
    if yes and not (named or exchange):
        raise typer.BadParameter("choose the trades: --exchange, or one message as `dlq list` prints it")
    chosen = DeadLetterFilter(
        message=named,
        exchange=exchange,
        symbol=symbol,
        trade_id=trade_id,
        from_us=_micros(since, EARLIEST_US),
        to_us=_micros(until, END_US),
    )
    tiers = tiers_of(load_settings(data_dir), only_look=not yes)
    with err.status("Comparing versions …"):
        wanted = plan_accept(tiers, chosen)
    days: list[DayReport] = []
    if yes and not wanted.is_empty:
        days = carry_out("Accepting", tiers, wanted, quiet=as_json)
    if as_json:
        print_json(
            {
                "dry_run": not yes,
                "corrections": wanted.corrections(),
                "candles": wanted.candles(),
                "refused": wanted.refused,
                "not_over": wanted.not_over,
                "in_sums": wanted.in_sums,
                "unfinished": wanted.unfinished.height,
                "agreeing": wanted.agreeing.height,
                "days": days,
            }
        )
    else:
        _print(wanted, days, done=yes, is_chosen=bool(named or exchange))


def _micros(moment: datetime | None, otherwise: int) -> int:
    from offload.tables.slices import micros  # noqa: PLC0415 - it imports pyiceberg

    return micros(moment.replace(tzinfo=UTC)) if moment else otherwise


def _print(wanted: AcceptPlan, days: list[DayReport], *, done: bool, is_chosen: bool) -> None:
    count = wanted.trades.height
    shown = f", the first {SHOWN} of {count:,}" if count > SHOWN else ""
    print_table(
        f"Another version{shown}",
        ("exchange", "symbol", "trade id", "differs in", "was" if done else "is", "is" if done else "would be", "by"),
        [_row(correction) for correction in wanted.corrections(SHOWN)],
        empty="nothing to accept",
    )
    print_candles(wanted)
    for reason, number in wanted.refused.items():
        out.print(f"{number:,} left out: today's rules reject them as {reason}.")
    if wanted.not_over:
        out.print(f"{wanted.not_over:,} left out: their day is not over. Run the same command after midnight UTC.")
    if wanted.in_sums:
        out.print(
            f"{wanted.in_sums:,} left out: Silver has these matches summed up under another id or in another number."
            " Accept a version of the whole sum, if there is one."
        )
    if wanted.unfinished.height:
        out.print(f"{wanted.unfinished.height:,} were accepted by a command that did not end; they are finished too.")
    if wanted.agreeing.height:
        out.print(f"{wanted.agreeing.height:,} say by now what Silver has; they become duplicates.")
    if not done and not wanted.is_empty:
        out.print("Do it with --yes." if is_chosen else "Do it with --exchange (or one message) and --yes.")
    print_days(days)


def carry_out(what: str, tiers: Tiers, wanted: AcceptPlan, *, quiet: bool) -> list[DayReport]:
    """Carry out a plan and show the steps, unless `quiet`."""
    from offload.accept import accept as run_accept  # noqa: PLC0415 - as in `accept`

    with working(what, "Run the same command again: it completes the work.", quiet=quiet) as work:
        phases = 0

        def watch(phase: str) -> None:
            nonlocal phases
            work.show(f"{phases} steps", "this step and those after it", doing=phase)
            phases += 1

        return run_accept(tiers, wanted, doing=watch)


def print_candles(wanted: AcceptPlan) -> None:
    """Print which candles a plan touches."""
    if wanted.trades.height:
        candles = [(frame, len(starts), _some(starts)) for frame, starts in wanted.candles().items()]
        print_table("Candle windows touched", ("frame", "windows", "starting at (UTC)"), candles)


def print_days(days: list[DayReport]) -> None:
    """Print what changed."""
    if days:
        changed = [
            (day.exchange, day.symbol, day.day, day.added, day.removed, day.altered, day.letters_resolved)
            for day in days
        ]
        names = ("exchange", "symbol", "day", "added", "removed", "altered", "dead letters resolved")
        print_table("Changed in Silver and Gold", names, changed)


def _row(correction: Correction) -> tuple[str, ...]:
    return (
        correction.exchange,
        correction.symbol,
        correction.trade_id,
        correction.field,
        described(correction.old, correction.field) if correction.old else "nothing",
        described(correction.new, correction.field),
        correction.new.message,
    )


def described(version: TradeVersion, field: str) -> str:
    """The fields of a version that differ, as text; all fields where Silver has no version."""
    fields = {
        "price_text": version.price,
        "quantity_text": version.quantity,
        "timestamp": version.timestamp,
        "side": version.side,
        "kind": version.trade_kind,
    }
    return ", ".join(text for name, text in fields.items() if not field or name in field.split(", "))


def _some(starts: list[datetime]) -> str:
    named = ", ".join(f"{start:%Y-%m-%d %H:%M}" for start in starts[:LONGEST_LIST])
    return named + (f" … {starts[-1]:%Y-%m-%d %H:%M}" if len(starts) > LONGEST_LIST else "")
