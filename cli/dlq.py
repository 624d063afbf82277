"""`medallion dlq list|stats`: why trades were rejected."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer
from clickhouse_driver import Client

from cli.context import DataDirOption, JsonOption, clickhouse, load_settings, print_json, print_table
from cli.statements import rows

app = typer.Typer(help="Dead letters: rejected messages and the reason of each.", no_args_is_help=True)

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
EPOCH, FAR = datetime(1970, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - typer's defaults; taken as UTC below
ExchangeOption = Annotated[str, typer.Option(help="Only this exchange code.")]
SymbolOption = Annotated[str, typer.Option(help="Only this symbol, in the exchange's own spelling.")]
SinceOption = Annotated[datetime, typer.Option("--from", help="Rejected at or after this time (UTC).", formats=FORMATS)]
UntilOption = Annotated[datetime, typer.Option("--to", help="Rejected before this time (UTC).", formats=FORMATS)]


ALL = {"exchange": "", "symbol": "", "since": "1970-01-01 00:00:00", "until": "2200-01-01 00:00:00"}


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S")


@app.command("list")
def list_records(
    reason: Annotated[str, typer.Option(help="Only this reason code (see docs/reasons.md).")] = "",
    exchange: ExchangeOption = "",
    symbol: SymbolOption = "",
    since: SinceOption = EPOCH,
    until: UntilOption = FAR,
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 50,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, newest first."""
    parameters = {
        "reason": reason,
        "exchange": exchange,
        "symbol": symbol,
        "since": _utc(since),
        "until": _utc(until),
        "limit": limit,
    }
    with clickhouse(load_settings(data_dir)) as client:
        found = rows(client, "dlq_list", parameters)
    if as_json:
        print_json(found)
        return
    print_table(
        "Dead letters",
        ("rejected at", "reason", "exchange", "symbol", "trade id", "field", "value", "limit", "raw message"),
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
                f"{record['raw_topic']}[{record['raw_partition']}]@{record['raw_offset']}",
            )
            for record in found
        ],
        empty="none",
    )


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
    parameters = {"exchange": exchange, "symbol": symbol, "since": _utc(since), "until": _utc(until)}
    with clickhouse(load_settings(data_dir)) as client:
        if as_json:
            print_json(rows(client, "dlq_stats", parameters))
        else:
            print_stats(client, parameters)


def print_stats(client: Client, parameters: Mapping[str, object]) -> None:
    """Dead letters by reason as a table."""
    found = rows(client, "dlq_stats", parameters)
    print_table(
        "Dead letters by reason",
        ("reason", "records", "markets", "first", "last", "latest value"),
        [(r["reason"], r["records"], r["markets"], r["first"], r["last"], r["latest_value"][:60]) for r in found],
        empty="none",
    )
