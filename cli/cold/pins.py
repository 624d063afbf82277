"""`medallion pin create|list|show|diff|drop|repair`: named, reproducible versions of the cold tables."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from cli.cold.offload import FORMATS, utc
from cli.common.arguments import MOST_ROWS
from cli.common.console import cell
from cli.common.context import DataDirOption, JsonOption, YesOption, err, load_settings, print_json, print_table
from offload.clickhouse.client import ClickHouseHttp
from offload.pin_difference import CHANGED, PinDifference
from offload.pins import NOW, Pin, Pins
from offload.tables.branches import repair_branches
from offload.tables.catalog import ColdTier, ColdView

app = typer.Typer(help="Named versions of all cold tables, kept for good.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Lower-case letters, digits and _.")]


@app.command("create")
def create(
    name: NameArgument,
    at: Annotated[
        datetime | None, typer.Option(help="The version of this time (UTC), between two offload runs.", formats=FORMATS)
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pin one consistent version of all cold tables; what it names never expires."""
    _show(Pins(ColdTier.open(load_settings(data_dir))).create(name, utc(at)), as_json)


@app.command("list")
def list_pins(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show every pin."""
    pins = Pins.look(load_settings(data_dir)).all()
    if as_json:
        print_json(pins)
        return
    rows = [(pin.name, pin.created_at, sum(part.rows for part in pin.tables)) for pin in pins]
    print_table("Pins", ("name", "created", "rows"), rows, empty="none")


@app.command("show")
def show(
    name: NameArgument,
    views: Annotated[
        bool, typer.Option("--views", help="Make ClickHouse views of it in the database pin_NAME.")
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the snapshots that a pin names."""
    settings = load_settings(data_dir)
    pins = Pins.look(settings)
    _show(pins.get(name), as_json)
    if views:
        err.print(f"Views of it: {pins.publish(name, ClickHouseHttp(settings))}.silver_trades and the others.")


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(help="A pin.")],
    after: Annotated[str, typer.Argument(help="Another pin; now: what the cold tables have at this moment.")] = NOW,
    limit: Annotated[int, typer.Option(help="Print at most this many rows of each table.", min=0, max=MOST_ROWS)] = 20,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="A new folder for all of them: <table>.parquet with each value before and after."),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the trades and candles in which two versions differ: added, removed, or with other values.

    Trades are compared by price, quantity, time, side, kind, matches and order, candles by every number; when and from
    which message a row came makes no difference. Rows that are not offloaded yet are in no version.
    """
    settings = load_settings(data_dir)
    for name in {before, after} - {NOW}:
        Pins.look(settings).get(name)
    with err.status("Comparing …"):
        found, rows = PinDifference(ColdView.look(settings)).compare(before, after, output, limit)
    if as_json:
        print_json(
            {
                **found.model_dump(mode="json"),
                "equal": found.is_equal,
                "rows": {table: some.to_dicts() for table, some in rows.items()},
            }
        )
        return
    print_table(
        f"From {before} to {after}",
        ("cold table", "removed", "added", "changed", "rows compared"),
        [(one.table, one.removed, one.added, one.changed, one.compared) for one in found.tables],
    )
    for one in found.tables:
        if one.rows and limit:
            some = rows[one.table]
            shown = f"{some.height:,} of {one.rows:,}" if some.height < one.rows else f"{one.rows:,}"
            print_table(f"{one.table}: {shown}", *_differences(some))
    if output is not None:
        err.print(f"All of them: {output}/<table>.parquet.")


def _differences(rows: pl.DataFrame) -> tuple[list[str], list[list[object]]]:
    """Of each row its key, and in one cell what differs: `price 1.5 → 1.6`."""
    values = [name.removesuffix("_before") for name in rows.columns if name.endswith("_before")]
    key = [name for name in rows.columns if not name.endswith(("_before", "_after"))]
    cells: list[list[object]] = []
    for row in rows.iter_rows(named=True):
        sides = [(name, row[f"{name}_before"], row[f"{name}_after"]) for name in values]
        if row["change"] == CHANGED:
            words = [f"{name} {cell(old)} → {cell(new)}" for name, old, new in sides if old != new]
        else:
            words = [f"{name} {cell(new if old is None else old)}" for name, old, new in sides]
        cells.append([*(row[name] for name in key), ", ".join(words)])
    return [*(name.replace("_", " ") for name in key), "values"], cells


@app.command("drop")
def drop(name: NameArgument, data_dir: DataDirOption = None) -> None:
    """Let go of a pin: its snapshots may expire then."""
    Pins.look(load_settings(data_dir)).drop(name)
    err.print(f"Dropped the pin {name}.")


@app.command("repair")
def repair(yes: YesOption = False, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Make `main` the branch of every cold table again, after version 0.1 took it for a pin's name.

    Puts it on the snapshot it was on, or on the newest where there is none; no row is lost.
    """
    settings = load_settings(data_dir)
    repaired = repair_branches(ColdTier.look(settings).catalog, settings, dry_run=not yes)
    if as_json:
        print_json({"dry_run": not yes, "tables": repaired})
        return
    print_table(
        "Repaired branches" if yes else "Branches that --yes repairs",
        ("cold table", "what is wrong", "snapshot", "rows"),
        [(one.table, one.damage, str(one.snapshot_id), one.rows) for one in repaired],
        empty="none is wrong",
    )


def _show(pin: Pin, as_json: bool) -> None:
    if as_json:
        print_json(pin)
        return
    print_table(
        f"Pin {pin.name}",
        ("cold table", "snapshot", "committed", "rows"),
        [(part.table, str(part.snapshot_id or ""), part.committed_at, part.rows) for part in pin.tables],
    )
