"""The candle time frames and the retention of every hot table, as declared in `layers.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from series.declaration import ARRIVAL, load_series

LAYERS_FILE = Path(__file__).with_name("layers.yaml")
# The AggregatingMergeTree table behind all candle views.
STATE_TABLE = "gold_ohlcv_state"


class Timeframe(BaseModel):
    """One candle length. Its windows (UTC) start at multiples of `seconds` since the Unix epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=r"^[1-9][0-9]*[mhd]$")
    seconds: int = Field(gt=0, multiple_of=60)

    @property
    def view(self) -> str:
        """The view with one row for each candle, amounts as Float64."""
        return f"gold_ohlcv_{self.code}"

    @property
    def exact_view(self) -> str:
        """The view with exact decimals as amounts. The cold tables are filled from it."""
        return f"{self.view}_exact"

    @property
    def window_start_sql(self) -> str:
        """Start of the window of column `timestamp` (DateTime64(6)), as DateTime64(0, 'UTC').

        It does not use `toStartOf…` functions: they depend on a time zone and wrap around in 2106.
        """
        return (
            f"toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), {self.seconds}000000) * {self.seconds}, 0, 'UTC')"
        )


class RetentionClass(BaseModel):
    """Time frames whose candle states are kept for the same number of `days` and share partitions.

    `partition`: the UTC period of one partition. `frames`: seconds by code; each has at least `from_seconds` and fewer
    than the next class's `from_seconds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_seconds: int = Field(gt=0)
    partition: Literal["day", "month"]
    days: int = Field(gt=0)
    frames: dict[str, int]

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The time frames of the class, the shortest first."""
        ordered = sorted(self.frames.items(), key=lambda frame: frame[1])
        return tuple(Timeframe(code=code, seconds=seconds) for code, seconds in ordered)

    @property
    def period_sql(self) -> str:
        """The SQL function from a time to its day or month as a number. Partition ids end with it."""
        return "toYYYYMMDD" if self.partition == "day" else "toYYYYMM"

    @property
    def partition_prefix(self) -> str:
        """The beginning of the class's partition ids."""
        return f"{self.from_seconds}-"


class Retention(BaseModel):
    """How long a hot table keeps a row: `days` after the later of its event time and arrival time.

    `event_time`, `arrival_time`: the columns with these times. `partition_prefix`: the rule is for partitions whose ids
    begin with it; "": for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    event_time: str
    arrival_time: str
    days: int = Field(gt=0)
    partition_prefix: str = ""


class Layers(BaseModel):
    """The content of `layers.yaml`. `candles`: ordered by the lengths of the time frames, the shortest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candles: tuple[RetentionClass, ...]
    retention: tuple[Retention, ...]

    @model_validator(mode="after")
    def _frames_are_in_their_class(self) -> Self:
        starts = [retention.from_seconds for retention in self.candles]
        if any(first >= second for first, second in pairwise(starts)):
            raise ValueError("`candles` must go from the least `from_seconds` to the greatest: sort them.")
        for retention, end in zip(self.candles, [*starts[1:], float("inf")], strict=True):
            for code, seconds in retention.frames.items():
                if not retention.from_seconds <= seconds < end:
                    raise ValueError(
                        f"{code} has {seconds} s: move it to the entry with the next lower `from_seconds`."
                    )
        return self

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """All time frames, the shortest first."""
        return tuple(frame for retention in self.candles for frame in retention.timeframes)

    @property
    def all_retention(self) -> tuple[Retention, ...]:
        """The retention of every hot table: those of `retention`, of the classes of time frames, and of the series."""
        gold = (
            Retention(
                table=STATE_TABLE,
                event_time="window_start",
                arrival_time="updated_at",
                days=candles.days,
                partition_prefix=candles.partition_prefix,
            )
            for candles in self.candles
        )
        return (*self.retention, *gold, *_series_retention())

    @property
    def union_views(self) -> tuple[str, ...]:
        """Views over hot and cold rows together. The offload creates them once the cold tables exist."""
        gold = (f"{view}_all" for frame in self.timeframes for view in (frame.exact_view, frame.view))
        snapshots = (f"{series.snapshots}_all" for series in load_series())
        return ("trades_raw_all", "silver_trades_all", *gold, *snapshots)


def _series_retention() -> Iterator[Retention]:
    """The retention of the series. The event time of a snapshot is that of its row; other rows have only an arrival."""
    for series in load_series():
        for kind, days in series.retention_days.items():
            event = series.time if kind == "snapshots" else ARRIVAL
            yield Retention(table=f"{series.name}_{kind}", event_time=event, arrival_time=ARRIVAL, days=days)


@cache
def load_layers() -> Layers:
    """The content of `layers.yaml`.

    Raises:
        pydantic.ValidationError: the file does not match its schema; the message names the field.
    """
    return Layers.model_validate(yaml.safe_load(LAYERS_FILE.read_text(encoding="utf-8")))
