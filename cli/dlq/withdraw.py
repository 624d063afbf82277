"""`medallion dlq withdraw`: takes trades out of Silver, Gold and the cold tables that the exchange has taken back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common.arguments import check_names
from cli.common.context import DataDirOption, JsonOption, YesOption, err, load_settings, out, print_json, print_table
from cli.dlq.accept import SHOWN, carry_out, described, print_candles, print_days
from producers.backfill import dumps
from producers.backfill.dump_files import source_of
from producers.backfill.dumps import Day, DumpError
from producers.exchanges.model import id_number
from producers.gaps.id_ranges import IdRanges, TimedRanges

if TYPE_CHECKING:
    from offload.accept import AcceptPlan
    from offload.clickhouse.tiers import Tiers
    from offload.rederive.run import DayReport


def withdraw(
    exchange: Annotated[str, typer.Option(help="The exchange code.")],
    symbol: Annotated[str, typer.Option(help="The symbol, in the exchange's own spelling.")],
    trade_id: Annotated[list[str] | None, typer.Argument(help="The exchange's ids of the trades.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            "--day", formats=["%Y-%m-%d"], help="Instead of ids: what the corrected file of this UTC day lacks."
        ),
    ] = None,
    source: Annotated[
        str, typer.Option(help="With --day: the folder or URL of Binance's daily trade files.")
    ] = dumps.URL,
    yes: YesOption = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show trades that the exchange has taken back; with --yes take them out of Silver, Gold and the cold tables.

    Give their ids, or a day: then the trades are those that Silver has of the day, and the exchange's file of the day
    does not have. Their messages stay in Raw and become dead letters trade_superseded. The days touched are
    re-derived and must be over. If the command is killed, the same command completes the work.
    `medallion dlq accept`, with the id of a message, makes it a trade again.
    """
    # Importing Polars and the Iceberg libraries takes a second, which the group's other commands do not need.
    from cli.common.tiers import tiers_of  # noqa: PLC0415
    from offload.withdraw import plan_withdrawal  # noqa: PLC0415

    if bool(trade_id) == bool(day):
        raise typer.BadParameter("give the ids of the trades, or --day")
    if day and exchange not in dumps.markets():
        raise typer.BadParameter(f"--day is for {', '.join(dumps.markets())}: give the ids of the trades")
    settings = load_settings(data_dir)
    lookup = check_names(settings, exchange, symbol, canonical=False).lookup
    ours = next(row["canonical"] for row in lookup if (row["exchange"], row["exchange_symbol"]) == (exchange, symbol))
    market = exchange, ours
    tiers = tiers_of(settings, only_look=not yes)
    with err.status("Comparing …"):
        chosen = _lacking(tiers, market, Day(exchange, symbol, day.date()), source) if day else trade_id or []
        wanted = plan_withdrawal(tiers, market, chosen)
    days: list[DayReport] = []
    if yes and not wanted.is_empty:
        days = carry_out("Withdrawing", tiers, wanted, quiet=as_json)
    if as_json:
        print_json(
            {
                "dry_run": not yes,
                "withdrawn": [correction.old for correction in wanted.corrections()],
                "candles": wanted.candles(),
                "not_over": wanted.not_over,
                "unfinished": wanted.unfinished.height,
                "days": days,
            }
        )
    else:
        _print(wanted, days, done=yes)


def _lacking(tiers: Tiers, market: tuple[str, str], day: Day, source: str) -> list[str]:
    """The ids of the trades that Silver has of a day, and the exchange's file of the day does not have."""
    from offload.withdraw import held_ids  # noqa: PLC0415 - as in `withdraw`

    in_file = _ids_of_file(day, source)
    numbers = ((text, id_number(text)) for text in held_ids(tiers, market, *day.span_us))
    return [text for text, number in numbers if number is None or not in_file.has(number)]


def _ids_of_file(day: Day, source: str) -> IdRanges:
    with dumps.opened(day, source_of(source)) as stored:
        contents = dumps.inspect(day, stored, day.span_us)
        if contents.dead or not contents.trades:
            found = f"{contents.dead:,} rows that are no trades" if contents.dead else "no trades"
            raise DumpError(f"{stored.name}: has {found}. Fetch it again, or give the ids of the trades")
        ids = TimedRanges()
        for message in dumps.messages(day, stored, day.span_us):
            ids.add(int(message.trade_id), 0)
        stored.check_unchanged()
    return IdRanges.of([(run.first, run.last) for run in ids])


def _print(wanted: AcceptPlan, days: list[DayReport], *, done: bool) -> None:
    count = wanted.trades.height
    print_table(
        f"Trades{f', the first {SHOWN} of {count:,}' if count > SHOWN else ''}",
        ("exchange", "symbol", "trade id", "was" if done else "is", "by"),
        [
            (correction.exchange, correction.symbol, correction.trade_id, described(old, ""), old.message)
            for correction in wanted.corrections(SHOWN)
            if (old := correction.old)
        ],
        empty="nothing to withdraw",
    )
    print_candles(wanted)
    if wanted.not_over:
        out.print(f"{wanted.not_over:,} left out: their day is not over. Run the same command after midnight UTC.")
    if wanted.unfinished.height:
        out.print(f"{wanted.unfinished.height:,} corrections of a command that did not end are finished, too.")
    if not done and not wanted.is_empty:
        out.print("Do it with --yes.")
    print_days(days)
