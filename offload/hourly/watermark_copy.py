"""Copies the cold tables' watermarks to ClickHouse, for SQL. Every run updates the copy."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyiceberg.table import Table

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger
from offload.tables.slices import instant, parse_gold_id, parse_hour_id

_TIME = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    {
        "table_name": pa.string(),
        "slice": pa.string(),
        "exchange": pa.string(),
        "starts_at": _TIME,
        "ends_at": _TIME,
        "cold_rows": pa.uint64(),
        "is_final": pa.uint8(),
        "exported_until": _TIME,
        "attempt": pa.string(),
    }
)
Watermark = tuple[str, int, bool, int]


def copy_watermarks(hot: HotStore, tables: Mapping[str, Table]) -> int:
    """Copy the ledgers of the cold tables (by name) to `offload_watermarks`; returns the number of inserted rows.

    Raises:
        HotStoreError: ClickHouse failed; the next run copies the rest.
    """
    copied: dict[str, dict[str, Watermark]] = {cold.name: {} for cold in TABLES}
    for row in hot.rows(render("watermarks.sql"), {}):
        mark = (str(row["attempt"]), int(row["cold_rows"]), bool(row["is_final"]), int(row["until_us"]))
        copied.setdefault(row["table_name"], {})[row["slice"]] = mark
    lacking: list[dict[str, object]] = []
    for cold in TABLES:
        ledger, marks = read_ledger(tables[cold.name].properties), copied[cold.name]
        lacking += [
            _row(cold, name, record) for name, record in ledger.items() if marks.get(name) != _watermark(record)
        ]
        outdated = sorted(marks.keys() - ledger.keys())
        if outdated:
            hot.command(render("delete_watermarks.sql"), {"table": cold.name, "slices": outdated})
    if lacking:
        hot.insert("offload_watermarks", pa.Table.from_pylist(lacking, _SCHEMA))
    return len(lacking)


def _watermark(record: SliceRecord) -> Watermark:
    return record.attempt, record.rows, record.final, record.until_us


def _row(cold: ColdTable, name: str, record: SliceRecord) -> dict[str, object]:
    part = parse_gold_id(cold, name) if cold.layer == "gold" else parse_hour_id(name)
    return {
        "table_name": cold.name,
        "slice": name,
        "exchange": part.key,
        "starts_at": instant(part.from_us),
        "ends_at": instant(part.to_us),
        "cold_rows": record.rows,
        "is_final": int(record.final),
        "exported_until": instant(record.until_us),
        "attempt": record.attempt,
    }
