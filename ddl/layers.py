"""The candle time frames and the declared retention of every hot table, read from `layers.yaml`."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

LAYERS_FILE = Path(__file__).with_name("layers.yaml")
# The AggregatingMergeTree table behind all candle views.
STATE_TABLE = "gold_ohlcv_state"


class Timeframe(BaseModel):
    """One candle length; `seconds` divides the Unix epoch into its windows (UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=r"^[1-9][0-9]*[mhd]$")
    seconds: int = Field(gt=0, multiple_of=60)

    @property
    def view(self) -> str:
        """The query view with one row a candle, amounts as Float64."""
        return f"gold_ohlcv_{self.code}"

    @property
    def exact_view(self) -> str:
        """The same with amounts as exact decimals: what the cold tables are made of."""
        return f"{self.view}_exact"

    @property
    def window_start_sql(self) -> str:
        """Start of the window of column `timestamp` (DateTime64(6)), as DateTime64(0, 'UTC').

        Seconds arithmetic instead of `toStartOf…`: those depend on a time zone and wrap in 2106.
        """
        return (
            f"toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), {self.seconds}000000) * {self.seconds}, 0, 'UTC')"
        )


class RetentionClass(BaseModel):
    """Time frames whose states are kept equally long, `days`, and share partitions: a `partition` (UTC) each.

    `frames`: seconds by code, from `from_seconds` up to the next class's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_seconds: int = Field(gt=0)
    partition: Literal["day", "month"]
    days: int = Field(gt=0)
    frames: dict[str, int]

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Its time frames, the shortest first."""
        ordered = sorted(self.frames.items(), key=lambda frame: frame[1])
        return tuple(Timeframe(code=code, seconds=seconds) for code, seconds in ordered)

    @property
    def period_sql(self) -> str:
        """The function that gives a time's day or month as a number: the rest of a partition's id."""
        return "toYYYYMMDD" if self.partition == "day" else "toYYYYMM"

    @property
    def partition_prefix(self) -> str:
        """What the ids of its partitions begin with."""
        return f"{self.from_seconds}-"


class Retention(BaseModel):
    """How long a hot table keeps a row: `days` after the later of its event and arrival column.

    `partition_prefix`: of the partitions whose ids begin so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    event_time: str
    arrival_time: str
    days: int = Field(gt=0)
    partition_prefix: str = ""


class Layers(BaseModel):
    """`layers.yaml`, validated; `candles` from the shortest frames to the longest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candles: tuple[RetentionClass, ...]
    retention: tuple[Retention, ...]

    @model_validator(mode="after")
    def _frames_are_in_their_class(self) -> Self:
        ends = [kept.from_seconds for kept in self.candles[1:]] + [float("inf")]
        if any(first >= second for first, second in pairwise(kept.from_seconds for kept in self.candles)):
            raise ValueError("`candles` must go from the least `from_seconds` to the greatest: sort them.")
        for kept, end in zip(self.candles, ends, strict=True):
            for code, seconds in kept.frames.items():
                if not kept.from_seconds <= seconds < end:
                    raise ValueError(
                        f"{code} has {seconds} s: move it to the entry with the next lower `from_seconds`."
                    )
        return self

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """All time frames, the shortest first."""
        return tuple(frame for kept in self.candles for frame in kept.timeframes)

    @property
    def all_retention(self) -> tuple[Retention, ...]:
        """`retention` and the one that each class declares for the table of states."""
        gold = (
            Retention(
                table=STATE_TABLE,
                event_time="window_start",
                arrival_time="updated_at",
                days=kept.days,
                partition_prefix=kept.partition_prefix,
            )
            for kept in self.candles
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
