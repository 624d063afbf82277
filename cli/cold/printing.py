"""Prints for people: reports of the offload, of the proofs, and of the comparison of hot and cold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cli.common.context import out, print_table
from offload.proof.counts import LineageCount
from offload.proof.verify import VerifyReport
from offload.report import OffloadReport

_WHY = {
    "grown": "rows came after it was offloaded",
    "open": "candles that have not ended",
    "not offloaded": "not offloaded yet",
}


_COUNTS = ("raw", "silver", "duplicates", "dlq", "contradicting", "missing", "in_several", "not_in_raw")


def sum_markets(counts: Iterable[LineageCount]) -> Mapping[tuple[str, str], Sequence[int]]:
    """The counting proof by exchange and symbol: the sums of `_COUNTS`."""
    markets: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(_COUNTS))
    for count in counts:
        totals = markets[count.exchange, count.symbol]
        for index, name in enumerate(_COUNTS):
            totals[index] += getattr(count, name)
    return markets


def print_lineage(markets: Mapping[tuple[str, str], Sequence[int]]) -> bool:
    """Print the counting proof by exchange and symbol, then its sum; returns whether it holds."""
    print_table(
        "Lineage: every raw message is in exactly one place",
        (
            "exchange",
            "symbol",
            "raw",
            "silver",
            "duplicates",
            "dead letters",
            "contradicting",
            "missing",
            "in several",
            "not in raw",
        ),
        [(*market, *totals) for market, totals in sorted(markets.items())],
    )
    raw, silver, duplicates, dlq, contradicting, missing, several, not_in_raw = (
        (sum(column) for column in zip(*markets.values(), strict=True)) if markets else (0,) * len(_COUNTS)
    )
    sign = "=" if raw == silver + duplicates + dlq else "≠"
    out.print(f"raw {raw:,} {sign} silver {silver:,} + duplicates {duplicates:,} + dead letters {dlq:,}", style="bold")
    if contradicting:
        out.print(
            f"{contradicting:,} dead letters contradict Silver's version of their trade: `medallion dlq accept` shows "
            "both and takes the newer one over.",
            style="yellow",
        )
    return sign == "=" and missing == several == not_in_raw == 0


def print_offload(report: OffloadReport) -> None:
    """Print a line for each cold table: what the run wrote."""
    tables: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for part in report.slices:
        totals = tables[part.table]
        totals[0] += part.rows
        if part.outcome in {"written", "rebuilt"}:
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
    """Print a line for each cold table, what was not compared and why, every difference, and a conclusion."""
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
    damaged = [(table.table, file) for table in report.tables for file in table.damaged]
    if damaged:
        print_table(
            "Cold files that are not as they were committed",
            ("cold table", "file", "bytes committed", "bytes now"),
            [
                (name, one.file, one.committed, "no such file" if one.found is None else one.found)
                for name, one in damaged
            ],
        )
    excess = [(table.table, one) for table in report.tables for one in table.excess]
    if excess:
        print_table(
            "Candles that count more trades than Silver has",
            ("table", "slice", "trades in candles", "trades in Silver"),
            [(name, one.slice, one.candle_trades, one.silver_trades) for name, one in excess],
        )
    out.print(conclusion(report), style="bold")


def conclusion(report: VerifyReport) -> str:
    """What the comparison found, in a sentence or two."""
    slices = sum(table.slices for table in report.tables)
    rows = sum(table.hot_rows for table in report.tables)
    left_out = sum(part.hot_rows for table in report.tables for part in table.not_compared)
    empty = [table.table for table in report.tables if not table.slices and table.not_compared]
    if not slices:
        text = "Nothing was compared: " + ("no hot row is in Iceberg yet." if left_out else "there is nothing.")
    elif report.ok:
        text = f"No difference in the {rows:,} hot rows of {slices:,} slices that were compared."
    elif not any(table.differences for table in report.tables):
        text = f"The {rows:,} hot rows of {slices:,} slices have no difference, but see above."
    else:
        text = f"Hot and cold differ; {rows:,} hot rows of {slices:,} slices were compared."
    if slices and left_out:
        text += f" {left_out:,} hot rows were not compared."
    if slices and empty:
        text += f" Nothing was compared of {', '.join(empty)}."
    return text
