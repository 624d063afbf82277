"""The six time frames and the declared retention of every hot table, read from `layers.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

LAYERS_FILE = Path(__file__).with_name("layers.yaml")


class Timeframe(BaseModel):
    """One candle length; `seconds` divides the Unix epoch into its windows (UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=r"^[1-9][0-9]*[mhd]$")
    seconds: int = Field(gt=0)
    partition: Literal["day", "month"]
    retention_days: int = Field(gt=0)

    @property
    def view(self) -> str:
        """The query view with one row a candle, amounts as Float64."""
        return f"gold_ohlcv_{self.code}"

    @property
    def exact_view(self) -> str:
        """The same with amounts as exact decimals: what the cold tables are made of."""
        return f"{self.view}_exact"

    @property
    def state_table(self) -> str:
        """The AggregatingMergeTree table behind the view."""
        return f"{self.view}_state"

    @property
    def materialized_view(self) -> str:
        """What fills the state table on every insert into `silver_trades`."""
        return f"{self.view}_mv"

    @property
    def window_start_sql(self) -> str:
        """Start of the window of column `timestamp` (DateTime64(6)), as DateTime64(0, 'UTC').

        Seconds arithmetic instead of `toStartOf…`: those depend on a time zone and wrap in 2106.
        """
        return (
            f"toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), {self.seconds}000000) * {self.seconds}, 0, 'UTC')"
        )

    @property
    def partition_sql(self) -> str:
        """Partition expression of the state table over `window_start`."""
        return f"{'toYYYYMMDD' if self.partition == 'day' else 'toYYYYMM'}(window_start)"


class Retention(BaseModel):
    """How long a hot table keeps a row: `days` after the later of its event and arrival column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    event_time: str
    arrival_time: str
    days: int = Field(gt=0)


class Layers(BaseModel):
    """`layers.yaml`, validated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeframes: tuple[Timeframe, ...]
    retention: tuple[Retention, ...]

    @property
    def all_retention(self) -> tuple[Retention, ...]:
        """`retention` and the one that each time frame declares for its state table."""
        gold = (
            Retention(
                table=frame.state_table,
                event_time="window_start",
                arrival_time="updated_at",
                days=frame.retention_days,
            )
            for frame in self.timeframes
        )
        return (*self.retention, *gold)

    @property
    def union_views(self) -> tuple[str, ...]:
        """Views of hot and cold rows together, which the offload makes when it knows where the cold tables are."""
        gold = (f"{view}_all" for frame in self.timeframes for view in (frame.exact_view, frame.view))
        return ("silver_trades_all", *gold)


@cache
def load_layers() -> Layers:
    """The declarations shipped with this version.

    Raises:
        pydantic.ValidationError: the file breaks its schema; the message names the field.
    """
    return Layers.model_validate(yaml.safe_load(LAYERS_FILE.read_text(encoding="utf-8")))
