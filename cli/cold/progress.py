"""Shows the progress of the offload and of the proofs."""

from __future__ import annotations

from datetime import datetime

from cli.common.work import Work, working
from offload.clickhouse.tiers import Tiers
from offload.report import OffloadProgress, OffloadReport, OnTable
from offload.run import run
from offload.tables.cold_tables import LAYERS, TABLES, Layer


def of_tables(work: Work) -> OnTable:
    """Shows the progress of what goes table by table."""

    def show(doing: str, number: int, total: int) -> None:
        share = number / total
        work.show(f"{number} of {total} tables", f"{total - number} tables", doing=doing, share=share)

    return show


def offload_with_progress(
    tiers: Tiers,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    until_now: bool = False,
    again: bool = False,
    layers: tuple[Layer, ...] = LAYERS,
    quiet: bool = False,
) -> OffloadReport:
    """`offload.run.run` with its progress on standard error; `quiet`: without."""
    tables = [cold.name for cold in TABLES if cold.layer in layers]
    go_on = "Run the same command again: a slice is in Iceberg whole or not at all, and what is there is left as it is."
    with working("Offloading", go_on, quiet=quiet) as work:
        written = 0

        def watch(step: OffloadProgress) -> None:
            nonlocal written
            written += step.step == "done"
            number = tables.index(step.table)
            work.show(
                f"{written:,} slices, {number} of {len(tables)} tables",
                f"{len(tables) - number} tables",
                doing=f"{step.table} {step.slice}: {step.step}",
                share=number / len(tables),
            )

        return run(tiers, start=start, end=end, until_now=until_now, again=again, layers=layers, progress=watch)
