"""What a cold table knows of itself: one record a slice, kept as table properties in the commit that wrote the slice.

Snapshot summaries carry the attempt and the slices too, but snapshots expire; properties do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "medallion.slice."
SILVER_PREFIX = "medallion.silver-window."
LEFT_PREFIX = "medallion.left."
SUMMARY_ATTEMPT = "medallion.attempt"
SUMMARY_SLICES = "medallion.slices"


class SliceRecord(BaseModel):
    """A slice as it was last committed.

    `attempt` names the files; `rows` are in the cold table; `measure` is what the hot tier held then (rows of the
    window, for Gold the trades in the candles), so that a later look can tell whether more has arrived; `until_us` (µs
    since the epoch) is the end of the latest candle that was taken; `final` says that the slice was over; `by_side`,
    that its candles have buy_volume and sell_volume, which those of version 0.1 do not.
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


def ledger_properties(records: Mapping[str, SliceRecord]) -> dict[str, str]:
    """The properties that record `records`."""
    return {PREFIX + name: record.model_dump_json(exclude_defaults=True) for name, record in records.items()}


def read_silver_windows(properties: Mapping[str, str]) -> dict[str, int]:
    """Silver rows by window that a Gold table has already followed."""
    return {
        key.removeprefix(SILVER_PREFIX): int(value)
        for key, value in properties.items()
        if key.startswith(SILVER_PREFIX)
    }


def silver_properties(windows: Iterable[tuple[str, int]]) -> dict[str, str]:
    """The properties that record Silver windows as followed."""
    return {SILVER_PREFIX + name: str(rows) for name, rows in windows}


def read_left(properties: Mapping[str, str]) -> frozenset[str]:
    """Ids of the hot partitions that the gate let go since the cold table has their rows."""
    return frozenset(key.removeprefix(LEFT_PREFIX) for key in properties if key.startswith(LEFT_PREFIX))


def left_properties(partition: str, at: datetime) -> dict[str, str]:
    """The property that records a partition as gone (UTC)."""
    return {LEFT_PREFIX + partition: at.isoformat()}
