"""What a comparison of hot and cold rows found, for people: never more than was compared."""

from __future__ import annotations

from cli.common.context import out, print_table
from offload.proof.verify import VerifyReport

_WHY = {
    "grown": "rows came after it was offloaded",
    "open": "candles that have not ended",
    "not offloaded": "not offloaded yet",
}


def print_verification(report: VerifyReport) -> None:
    """A line a cold table, what was left out and why, every difference, and the sum as one sentence."""
    print_table(
        "Hot against cold",
        (
            "cold table",
            "slices",
            "of these open",
            "hot rows",
            "cold rows",
            "only cold now",
            "not compared",
            "differences",
        ),
        [
            (
                t.table,
                t.slices,
                t.open_slices,
                t.hot_rows,
                t.cold_rows,
                t.only_cold,
                sum(part.hot_rows for part in t.not_compared),
                len(t.differences),
            )
            for t in report.tables
        ],
    )
    if not report.complete:
        print_table(
            "Not compared",
            ("cold table", "slice", "hot rows", "why"),
            [(t.table, part.slice, part.hot_rows, _WHY[part.why]) for t in report.tables for part in t.not_compared],
        )
    differences = [difference for table in report.tables for difference in table.differences]
    if differences:
        print_table(
            "Differences",
            ("table", "slice", "exchange", "symbol", "hot rows", "cold rows"),
            [(d.table, d.slice, d.exchange, d.symbol, d.hot_rows, d.cold_rows) for d in differences],
        )
    out.print(conclusion(report), style="bold")


def conclusion(report: VerifyReport) -> str:
    """What the comparison says, in a sentence or two."""
    slices = sum(table.slices for table in report.tables)
    rows = sum(table.hot_rows for table in report.tables)
    left_out = sum(part.hot_rows for table in report.tables for part in table.not_compared)
    empty = [table.table for table in report.tables if not table.slices and table.not_compared]
    if not slices:
        said = "Nothing was compared: " + ("no hot row is in Iceberg yet." if left_out else "there is nothing.")
    elif report.ok:
        said = f"No difference in the {rows:,} hot rows of {slices:,} slices that were compared."
    else:
        said = f"Hot and cold differ; {rows:,} hot rows of {slices:,} slices were compared."
    if slices and left_out:
        said += f" {left_out:,} hot rows were not compared."
    if slices and empty:
        said += f" Nothing was compared of {', '.join(empty)}."
    return said
