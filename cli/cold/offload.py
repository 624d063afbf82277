"""`medallion offload run|serve|status|views|gate|maintain|verify`: writes, maintains and checks the cold tier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.cold.printing import conclusion, print_offload, print_verification
from cli.cold.progress import of_tables, offload_with_progress
from cli.common.arguments import MOST_DAYS, check_span
from cli.common.context import DataDirOption, JsonOption, err, load_settings, print_json, print_table
from cli.common.tiers import tiers_of
from cli.common.work import working
from config.errors import MedallionError
from config.process import logs
from ddl.readers import is_readers_database
from offload.clickhouse.tiers import Tiers
from offload.files.version_hint import publish_hints
from offload.hourly.status import status as cold_status
from offload.maintain.compaction import MergeGroup, compact
from offload.maintain.expiry import maintain
from offload.proof.verify import VerifyReport
from offload.proof.verify import verify as verify_cold
from offload.retention.gate import close_gate
from offload.retention.union_views import update_union_views
from offload.tables.cold_tables import LAYERS, Layer

offload_app = typer.Typer(help="Hot rows to Iceberg.", no_args_is_help=True)

FORMATS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"]
FromOption = Annotated[
    datetime | None, typer.Option("--from", help="Arrival from this hour on (UTC).", formats=FORMATS)
]
ToOption = Annotated[datetime | None, typer.Option("--to", help="Arrival before this hour (UTC).", formats=FORMATS)]

_COMPARED = "UTC; rows by the hour of their arrival, candles by their own time"
_ComparedFromOption = Annotated[
    datetime | None, typer.Option("--from", help=f"Compare from here on ({_COMPARED}).", formats=FORMATS)
]
_ComparedToOption = Annotated[
    datetime | None, typer.Option("--to", help=f"Compare what is before this ({_COMPARED}).", formats=FORMATS)
]


StrictOption = Annotated[bool, typer.Option("--strict", help="Exit 1 also if a hot row could not be compared.")]


class ProofError(MedallionError):
    """A proof did not hold; the message names what differs."""


def utc(moment: datetime | None) -> datetime | None:
    """A time from the command line, which is UTC, as an aware time."""
    return moment.replace(tzinfo=UTC) if moment else None


@offload_app.command("run")
def offload_run(
    since: FromOption = None,
    until: ToOption = None,
    hour: Annotated[
        datetime | None, typer.Option("--hour", help="Only this hour of arrival (UTC).", formats=FORMATS)
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help=f"Only this layer: {', '.join(LAYERS)}.")] = None,
    until_now: Annotated[
        bool, typer.Option("--until-now", help="The open hour and open candles too; a later run replaces them.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also export what the cold tier already has.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every layer's arrival hours to its Iceberg table; what is there already is not changed."""
    layers = _layers(layer)
    if hour and (since or until):
        raise typer.BadParameter("give either --hour or --from and --to", param_hint="--hour")
    if hour:
        since, until = hour, hour + timedelta(hours=1)
    check_span(since, until)
    report = offload_with_progress(
        Tiers.open(load_settings(data_dir)),
        start=utc(since),
        end=utc(until),
        until_now=until_now,
        again=again,
        layers=layers,
        quiet=as_json,
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


@offload_app.command("views")
def offload_views(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Make or repair the views `…_all` of hot and cold rows. Every offload run does so; this checks all partitions."""
    tiers = Tiers.open(load_settings(data_dir))
    found = update_union_views(tiers.hot, publish_hints(tiers.cold), check=True)
    if as_json:
        print_json(found)
        return
    print_table(
        "Views of hot and cold rows",
        ("view", "made now", "partitions now read from Iceberg"),
        [(view.view, "yes" if view.created else "no", ", ".join(view.marked)) for view in found],
    )


@offload_app.command("status")
def offload_status(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show how complete each cold table is: last hour and slice, rows, files, bytes, and hours that are overdue."""
    tables = cold_status(tiers_of(load_settings(data_dir)))
    if as_json:
        print_json(tables)
        return
    print_table(
        "Iceberg",
        ("cold table", "complete until", "last complete slice", "rows", "files", "bytes", "hours pending", "lag, s"),
        [
            (t.table, t.complete_until, t.last_slice, t.rows, t.files, t.bytes, t.pending, round(t.lag_seconds))
            for t in tables
        ],
    )


@offload_app.command("gate")
def offload_gate(
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the partitions that Iceberg confirms; without it only list them.")
    ] = False,
    table: Annotated[list[str] | None, typer.Option(help="Only this hot table.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every expired hot partition with Iceberg, row by row; exit 1 if one is held back, saying why."""
    go_on = "A partition was dropped whole or is there still: run the same command again."
    tiers = tiers_of(load_settings(data_dir), only_look=not drop)
    with working("Comparing with Iceberg", go_on, quiet=as_json) as work:
        report = close_gate(tiers, drop=drop, tables=table or (), progress=of_tables(work))
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
    if is_readers_database(tiers.settings):
        err.print("On a cluster partitions are the shards' own: nothing was compared, and nothing leaves ClickHouse.")
    if report.held:
        raise ProofError("Iceberg does not confirm every expired partition: these stay hot, for the reasons above.")


@offload_app.command("maintain")
def offload_maintain(
    expire_days: Annotated[
        float | None,
        typer.Option(
            help="Expire snapshots older than this, never pinned ones; default: the settings'.", min=0, max=MOST_DAYS
        ),
    ] = None,
    orphan_days: Annotated[
        float | None,
        typer.Option(help="Remove unnamed files older than this; default: the settings'.", min=0.1, max=MOST_DAYS),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge small files of past days, expire old snapshots, remove files that nothing names; `serve` does it daily."""
    tiers = tiers_of(load_settings(data_dir), only_look=dry_run)
    go_on = "What was merged or removed stays so: run the same command again."
    with working("Maintaining", go_on, quiet=as_json) as work:
        merges = 0

        def watch(table: str, bundle: MergeGroup) -> None:
            nonlocal merges
            doing = f"{table}: merging {len(bundle.files)} files of {bundle.size / 1e6:,.1f} MB"
            work.show(f"{merges:,} merges", "later merges, unreferenced snapshots and files", doing=doing)
            merges += 1

        merged = compact(tiers, dry_run=dry_run, progress=watch)
        rest = "unreferenced snapshots and files"
        work.show(f"{merges:,} merges", rest, doing=rest)
        done = maintain(
            tiers.cold,
            expire_after=None if expire_days is None else timedelta(days=expire_days),
            orphan_age=None if orphan_days is None else timedelta(days=orphan_days),
            dry_run=dry_run,
        )
    if as_json:
        # `upkeep` is the name that 0.1 gave it.
        print_json({"dry_run": dry_run, "compaction": merged, "maintenance": done, "upkeep": done})
        return
    print_table(
        "Would be merged" if dry_run else "Small files merged",
        ("cold table", "files", "bytes", "into files", "conflicts"),
        [(table.table, table.files, table.bytes, table.into, table.conflicts) for table in merged],
    )
    print_table(
        "Maintenance it would do" if dry_run else "Maintenance",
        ("cold table", "snapshots expired", "files removed", "bytes removed"),
        [(table.table, table.expired_snapshots, table.removed_files, table.bytes) for table in done],
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
    # It loads aiohttp and APScheduler, which the group's other commands do not need.
    from offload.service import offload_service  # noqa: PLC0415

    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "offload")
    offload_service(settings, minute=minute, drop=drop).serve()


@offload_app.command("verify")
def offload_verify(
    since: _ComparedFromOption = None,
    until: _ComparedToOption = None,
    include_open: Annotated[
        bool, typer.Option("--include-open", help="Compare also what has grown since it was offloaded.")
    ] = False,
    strict: StrictOption = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every offloaded hour with the hot tier by count and checksum, and say what was not compared, and why.

    Exit 1 where they differ; with --strict also if a hot row was not compared. An open hour is compared if nothing has
    come to it since it was offloaded.
    """
    check_span(since, until)
    tiers = tiers_of(load_settings(data_dir))
    with working("Comparing with Iceberg", "Nothing was changed.", quiet=as_json) as work:
        report = verify_cold(
            tiers, start=utc(since), end=utc(until), include_open=include_open, progress=of_tables(work)
        )
    if as_json:
        print_json(report)
    else:
        print_verification(report)
    require_equal(report, strict=strict)


def require_equal(report: VerifyReport, *, strict: bool) -> None:
    """Fail the command if hot and cold differ.

    Raises:
        ProofError: they differ; with `strict` also if a hot row was not compared.
    """
    if files := [file.file for table in report.tables for file in table.damaged]:
        raise ProofError(
            f"{len(files):,} cold files are not as they were committed; the first is {files[0]}. While ClickHouse has"
            " the hours, `medallion offload run --again` writes them anew; else restore the files from a backup."
        )
    if names := [table.table for table in report.tables if table.excess]:
        raise ProofError(
            f"Candles of {', '.join(names)} count more trades than Silver has, in the slices named above: `medallion"
            " rederive` of these days, when they are over, makes them again."
        )
    if not report.ok:
        raise ProofError("Hot and cold differ in the slices named above.")
    if strict and not report.complete:
        raise ProofError(f"{conclusion(report)} `medallion offload run --until-now` takes the open hour too.")
