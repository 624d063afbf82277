"""The ledger of a cold table: one record for each slice, a table property set by the commit that wrote the slice.

Snapshot summaries also name the attempt and the slices, but snapshots expire. Properties do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from offload.tables.slices import SECOND_US, parse_hour_id

PREFIX = "medallion.slice."
SILVER_PREFIX = "medallion.silver-window."
LEFT_PREFIX = "medallion.left."
SUMMARY_ATTEMPT = "medallion.attempt"
SUMMARY_SLICES = "medallion.slices"


class SliceRecord(BaseModel):
    """A slice as it was last committed.

    `attempt` begins the names of its files. `rows`: rows in the cold table. `measure`: rows of the hour in the hot tier
    at that time (for Gold the trades in the candles); a larger number later shows that more have arrived. `until_us`:
    the commit has the candles that ended by this time (µs since the epoch). `final`: the slice was over. `by_side`: its
    candles have buy_volume and sell_volume, which candles of version 0.1 lack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: str
    rows: Annotated[int, Field(ge=0)]
    measure: Annotated[int, Field(ge=0)]
    until_us: int
    final: bool
    by_side: bool = False


def read_ledger(properties: Mapping[str, str]) -> dict[str, SliceRecord]:
    """The slice records among a table's properties, by slice id.

    Raises:
        pydantic.ValidationError: a record was not written by this program.
    """
    return {
        key.removeprefix(PREFIX): SliceRecord.model_validate_json(value)
        for key, value in properties.items()
        if key.startswith(PREFIX)
    }


def offloaded_hours(properties: Mapping[str, str]) -> list[int]:
    """Starts (seconds since the epoch) of the arrival hours that a table has in Iceberg, open ones included."""
    return [parse_hour_id(name).from_us // SECOND_US for name in read_ledger(properties)]


def open_hours(properties: Mapping[str, str]) -> list[int]:
    """Those of `offloaded_hours` that were not over when they were offloaded (`offload run --until-now`).

    More rows may have arrived in them since.
    """
    ledger = read_ledger(properties)
    return [parse_hour_id(name).from_us // SECOND_US for name, record in ledger.items() if not record.final]


def ledger_properties(records: Mapping[str, SliceRecord]) -> dict[str, str]:
    """The properties that record `records`."""
    return {PREFIX + name: record.model_dump_json(exclude_defaults=True) for name, record in records.items()}


def read_silver_windows(properties: Mapping[str, str]) -> dict[str, int]:
    """The Silver rows of each arrival hour (by slice id) that a Gold table contains."""
    return {
        key.removeprefix(SILVER_PREFIX): int(value)
        for key, value in properties.items()
        if key.startswith(SILVER_PREFIX)
    }


def silver_properties(windows: Iterable[tuple[str, int]]) -> dict[str, str]:
    """The properties that record which Silver rows a Gold table contains."""
    return {SILVER_PREFIX + name: str(rows) for name, rows in windows}


def read_left(properties: Mapping[str, str]) -> frozenset[str]:
    """The days or months whose hot partitions the gate dropped, since the cold table has their rows."""
    return frozenset(key.removeprefix(LEFT_PREFIX) for key in properties if key.startswith(LEFT_PREFIX))


def left_properties(partition: str, at: datetime) -> dict[str, str]:
    """The property that records that a hot partition was dropped at `at` (UTC)."""
    return {LEFT_PREFIX + partition: at.isoformat()}
