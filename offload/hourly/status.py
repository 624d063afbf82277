"""The progress of each cold table, from its properties and the arrival hours of the hot tier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pyiceberg.table import Table

from offload.clickhouse.server import arrival_hours, server_now_us
from offload.clickhouse.tiers import Tiers
from offload.hourly.arrival_hours import is_due
from offload.tables.cold_tables import BY_NAME, TABLES, ColdTable
from offload.tables.slice_records import read_ledger, read_silver_windows
from offload.tables.slices import GRACE_US, HOUR_US, SECOND_US, hour, instant, parse_hour_id


class TableStatus(BaseModel):
    """One cold table at its current snapshot.

    `complete_until`: end (UTC) of the last arrival hour that the table has; for Gold, of the last one whose Silver rows
    it contains.
    `last_slice`: the latest complete slice (an arrival hour; for Gold an exchange and the first day of its partition).
    `pending`: arrival hours that are over and whose rows the table lacks. `lag_seconds`: how long the earliest of them
    has been over; 0 if there is none.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    complete_until: datetime | None
    last_slice: str
    rows: int
    files: int
    bytes: int
    pending: int
    lag_seconds: float
    snapshot_id: int | None
    committed_at: datetime | None


def status(tiers: Tiers) -> list[TableStatus]:
    """The state of every cold table.

    Raises:
        OffloadError: ClickHouse or the catalog fails.
    """
    tables, now_us = tiers.cold.load_all(), server_now_us(tiers.hot)
    closed_us = (now_us - GRACE_US) // HOUR_US * HOUR_US
    hours = arrival_hours(tiers.hot, [cold for cold in TABLES if cold.arrival], 0, closed_us)
    silver = hours[BY_NAME["silver_trades"].hot]
    return [_status(tables[cold.name], cold, hours.get(cold.hot, silver), now_us) for cold in TABLES]


def _status(table: Table, cold: ColdTable, hot_rows: Mapping[int, int], now_us: int) -> TableStatus:
    ledger = read_ledger(table.properties)
    if cold.arrival:
        pending = [start for start, rows in hot_rows.items() if is_due(ledger.get(hour(start).id), rows, again=False)]
        hours = [name for name, record in ledger.items() if record.final]
    else:
        followed = read_silver_windows(table.properties)
        pending = [start for start, rows in hot_rows.items() if rows > followed.get(hour(start).id, 0)]
        hours = [name for name in followed if parse_hour_id(name).over(now_us)]
    snapshot = table.current_snapshot()
    totals = snapshot.summary if snapshot and snapshot.summary else {}
    complete = [name for name, record in ledger.items() if record.final]
    return TableStatus(
        table=cold.name,
        complete_until=instant(max(parse_hour_id(name).to_us for name in hours)) if hours else None,
        last_slice=max(complete, key=lambda name: name.rpartition("/")[2], default=""),
        rows=int(totals.get("total-records") or 0),
        files=int(totals.get("total-data-files") or 0),
        bytes=int(totals.get("total-files-size") or 0),
        pending=len(pending),
        lag_seconds=max(0.0, (now_us - min(pending) - HOUR_US) / SECOND_US) if pending else 0.0,
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        committed_at=instant(snapshot.timestamp_ms * 1000) if snapshot else None,
    )
