"""`medallion offload run|serve|status|gate|verify` and `medallion lineage trace|verify`: the cold tier, its proofs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.context import DataDirOption, JsonOption, err, load_settings, out, print_json, print_table
from cli.show_trace import print_candles, print_changes, print_trace
from cli.union_views import views
from config import logs
from config.errors import MedallionError
from config.settings import Settings
from ddl.layers import load_layers
from offload.compaction import compact
from offload.gate import close_gate
from offload.hot import ClickHouseHttp
from offload.lineage import LineageCount, count_lineage, find_missing
from offload.maintenance import maintain
from offload.report import OffloadReport
from offload.report import Progress as Step
from offload.run import run as run_offload
from offload.service import OffloadService
from offload.status import status as cold_status
from offload.tables import LAYERS, Layer
from offload.trace import Tracer
from offload.verify import VerifyReport
from offload.verify import verify as verify_cold

offload_app = typer.Typer(help="Hot rows to Iceberg.", no_args_is_help=True)
offload_app.command("views")(views)
lineage_app = typer.Typer(help="Where every number came from.")

FORMATS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"]
FromOption = Annotated[
    datetime | None, typer.Option("--from", help="Arrival from this hour on (UTC).", formats=FORMATS)
]
ToOption = Annotated[datetime | None, typer.Option("--to", help="Arrival before this hour (UTC).", formats=FORMATS)]


class ProofError(MedallionError):
    """A proof did not hold; the message names what differs."""


def utc(moment: datetime | None) -> datetime | None:
    """A command-line time, which is UTC, as an aware time."""
    return moment.replace(tzinfo=UTC) if moment else None


@offload_app.command("run")
def offload_run(
    since: FromOption = None,
    until: ToOption = None,
    hour: Annotated[
        datetime | None, typer.Option("--hour", help="Only this hour of arrival (UTC).", formats=FORMATS)
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Only this layer: raw, bronze, silver or gold.")] = None,
    until_now: Annotated[
        bool, typer.Option("--until-now", help="The open hour and open candles too; a later run replaces them.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Export what the cold tier has already, too.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every layer's arrival hours to its Iceberg table; what is there already is left as it is."""
    settings = load_settings(data_dir)
    layers = _layers(layer)
    if hour and (since or until):
        raise typer.BadParameter("give either --hour or --from and --to", param_hint="--hour")
    if hour:
        since, until = hour, hour + timedelta(hours=1)
    report = offload_with_progress(
        settings, start=utc(since), end=utc(until), until_now=until_now, again=again, layers=layers
    )
    if as_json:
        print_json(report)
    else:
        print_offload(report)


def _layers(names: list[str] | None) -> tuple[Layer, ...]:
    unknown = [name for name in names or () if name not in LAYERS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose of {', '.join(LAYERS)}", param_hint="--layer")
    return tuple(layer for layer in LAYERS if not names or layer in names)


@offload_app.command("status")
def offload_status(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Say of each cold table how far it is: last complete slice, rows, files, bytes, and hours that are overdue."""
    tables = cold_status(load_settings(data_dir))
    if as_json:
        print_json(tables)
        return
    print_table(
        "Iceberg",
        ("cold table", "last complete slice", "rows", "files", "bytes", "hours pending", "lag, s"),
        [(t.table, t.last_slice, t.rows, t.files, t.bytes, t.pending, round(t.lag_seconds)) for t in tables],
    )


@offload_app.command("gate")
def offload_gate(
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the partitions that Iceberg confirms; without it only say which.")
    ] = False,
    table: Annotated[list[str] | None, typer.Option(help="Only this hot table.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every expired hot partition with Iceberg, row by row; exit 1 if one is held back, saying why."""
    report = close_gate(load_settings(data_dir), drop=drop, tables=table or ())
    if as_json:
        print_json(report)
    else:
        young = sum(verdict.state == "young" for verdict in report.verdicts)
        print_table(
            f"Durability gate: {young} hot partitions are younger than their retention",
            ("hot table", "partition", "state", "rows", "expired", "why"),
            [
                (v.table, v.partition, v.state, v.rows, v.expires_at, v.why)
                for v in report.verdicts
                if v.state != "young"
            ],
            empty="none has expired",
        )
    if report.held:
        raise ProofError("Iceberg does not confirm every expired partition: these stay hot, for the reasons above.")


@offload_app.command("maintain")
def offload_maintain(
    expire_days: Annotated[
        float | None,
        typer.Option(help="Expire snapshots older than this, never pinned ones; default: the settings'.", min=0),
    ] = None,
    orphan_days: Annotated[
        float | None, typer.Option(help="Remove unnamed files older than this; default: the settings'.", min=0.1)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge small files of past days, expire old snapshots, remove files that nothing names; `serve` does it daily."""
    settings = load_settings(data_dir)
    merged = compact(settings, dry_run=dry_run)
    done = maintain(
        settings,
        expire_after=None if expire_days is None else timedelta(days=expire_days),
        orphan_age=None if orphan_days is None else timedelta(days=orphan_days),
        dry_run=dry_run,
    )
    if as_json:
        print_json({"dry_run": dry_run, "compaction": merged, "upkeep": done})
        return
    print_table(
        "Would be merged" if dry_run else "Small files merged",
        ("cold table", "files", "bytes", "into files", "gave way"),
        [(table.table, table.files, table.bytes, table.into, table.conflicts) for table in merged],
    )
    print_table(
        "Upkeep it would do" if dry_run else "Upkeep",
        ("cold table", "snapshots expired", "files removed", "bytes removed"),
        [(upkeep.table, upkeep.expired_snapshots, upkeep.removed_files, upkeep.bytes) for upkeep in done],
    )


@offload_app.command("serve")
def offload_serve(
    minute: Annotated[int, typer.Option(help="Minute of the hour.", min=3, max=59)] = 5,
    drop: Annotated[
        bool, typer.Option("--drop", help="Let the gate drop expired partitions that Iceberg confirms.")
    ] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Offload at once and then every hour, until SIGTERM; metrics and /healthz on MEDALLION_METRICS_PORT."""
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "offload")
    service = OffloadService(settings, minute=minute, drop=drop)
    service.serve()


@offload_app.command("verify")
def offload_verify(
    since: FromOption = None,
    until: ToOption = None,
    include_open: Annotated[
        bool, typer.Option("--include-open", help="Compare hours that were open when they were offloaded, too.")
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every offloaded hour with the hot tier by count and checksum; exit 1 where they differ."""
    report = verify_cold(load_settings(data_dir), start=utc(since), end=utc(until), include_open=include_open)
    if as_json:
        print_json(report)
    else:
        print_verification(report)
    if not report.ok:
        raise ProofError("Hot and cold differ in the slices named above.")


@lineage_app.callback()
def lineage() -> None:
    """Where every number came from."""


@lineage_app.command("verify")
def lineage_verify(
    since: FromOption = None,
    until: ToOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove by counting that every raw message is in exactly one of Silver, duplicates and DLQ; exit 1 if not."""
    hot = ClickHouseHttp(load_settings(data_dir))
    counts = count_lineage(hot, utc(since), utc(until))
    missing = find_missing(hot, utc(since), utc(until)) if any(count.missing for count in counts) else []
    if as_json:
        print_json({"counts": counts, "missing": missing, "holds": all(count.holds for count in counts)})
    else:
        print_lineage(counts)
        print_table(
            "Raw messages found nowhere (drained? `medallion drain`)",
            ("topic", "partition", "offset", "exchange", "symbol", "trade id"),
            [(m.raw_topic, str(m.raw_partition), str(m.raw_offset), m.exchange, m.symbol, m.trade_id) for m in missing],
            empty="none",
        )
    if not all(count.holds for count in counts):
        raise ProofError("Some raw messages are not in exactly one place.")


@lineage_app.command("trace")
def lineage_trace(
    exchange: Annotated[str, typer.Option(help="Exchange-and-market code.")],
    symbol: Annotated[str, typer.Option(help="Canonical symbol, or the exchange's own.")],
    trade_id: Annotated[str | None, typer.Option(help="The exchange's trade id.")] = None,
    candle: Annotated[str | None, typer.Option(help="Instead of a trade a candle: 1m, 5m, 15m, 30m, 1h or 1d.")] = None,
    at: Annotated[datetime | None, typer.Option(help="A time within the candle (UTC).", formats=FORMATS)] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow one trade or candle through every layer, hot and cold; exit 1 if a value changed on the way."""
    if (trade_id is None) == (candle is None) or (candle is None) != (at is None):
        raise typer.BadParameter("give --trade-id, or --candle with --at", param_hint="--trade-id")
    if candle and candle not in {frame.code for frame in load_layers().timeframes}:
        raise typer.BadParameter("choose of 1m, 5m, 15m, 30m, 1h, 1d", param_hint="--candle")
    tracer = Tracer(load_settings(data_dir))
    if trade_id is not None:
        trace = tracer.trade(exchange, symbol, trade_id)
        print_json(trace) if as_json else print_trace(trace)
        changes = trace.changes
    else:
        moment = utc(at)
        assert candle is not None
        assert moment is not None
        found = tracer.candle(candle, exchange, symbol, moment)
        changes = found.changes
        if as_json:
            print_json(found)
        else:
            print_candles([found])
            print_changes(changes)
    if changes:
        raise ProofError(f"Changed first in {changes[0].layer}: {changes[0].field}.")


def offload_with_progress(
    settings: Settings,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    until_now: bool = False,
    again: bool = False,
    layers: tuple[Layer, ...] = LAYERS,
) -> OffloadReport:
    """`offload.run.run`, with what it is at on standard error."""
    columns = (SpinnerColumn(), TextColumn("Offloading {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("…", total=None)

        def watch(step: Step) -> None:
            progress.update(task, description=f"{step.table} {step.slice}: {step.step}")

        return run_offload(
            settings, start=start, end=end, until_now=until_now, again=again, layers=layers, progress=watch
        )


def print_offload(report: OffloadReport) -> None:
    """A line a cold table: what the run wrote."""
    tables: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for part in report.slices:
        totals = tables[part.table]
        totals[0] += part.rows
        if part.outcome == "written":
            totals[1] += part.rows
            totals[2] += part.files
            totals[3] += part.bytes
    print_table(
        f"Iceberg: offloaded in {report.seconds:.1f} s",
        ("cold table", "rows", "written now", "files", "bytes"),
        [(name, *totals) for name, totals in tables.items()],
        empty="no rows that were not offloaded yet (the open hour waits for --until-now)",
    )


def print_verification(report: VerifyReport) -> None:
    """A line a cold table, then every difference."""
    print_table(
        "Hot against cold",
        ("cold table", "slices", "still open", "hot rows", "cold rows", "differences"),
        [(t.table, t.slices, t.open_slices, t.hot_rows, t.cold_rows, len(t.differences)) for t in report.tables],
    )
    differences = [difference for table in report.tables for difference in table.differences]
    print_table(
        "Differences",
        ("table", "slice", "exchange", "symbol", "hot rows", "cold rows"),
        [(d.table, d.slice, d.exchange, d.symbol, d.hot_rows, d.cold_rows) for d in differences],
        empty="none",
    )


def print_lineage(counts: Iterable[LineageCount]) -> bool:
    """The counting proof by exchange and symbol, its sum as one line; whether it holds."""
    names = ("raw", "silver", "duplicates", "dlq", "missing", "in_several")
    markets: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(names))
    for count in counts:
        totals = markets[count.exchange, count.symbol]
        for index, name in enumerate(names):
            totals[index] += getattr(count, name)
    print_table(
        "Lineage: every raw message is in exactly one place",
        ("exchange", "symbol", "raw", "silver", "duplicates", "dead letters", "missing", "in several"),
        [(*market, *totals) for market, totals in sorted(markets.items())],
    )
    raw, silver, duplicates, dlq, missing, several = (
        (sum(column) for column in zip(*markets.values(), strict=True)) if markets else (0,) * 6
    )
    sign = "=" if raw == silver + duplicates + dlq else "≠"
    out.print(f"raw {raw:,} {sign} silver {silver:,} + duplicates {duplicates:,} + dead letters {dlq:,}", style="bold")
    return sign == "=" and missing == 0 and several == 0
