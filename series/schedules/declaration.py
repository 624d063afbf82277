"""Reads the schedules file (`config/schedules.yaml` or another one): series to bring up to date, quality checks."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from series.declaration import Series, load_series, series_named
from series.errors import SeriesError
from series.questions import DEFAULT_SOURCE

_INTERVAL = re.compile(r"([1-9][0-9]{0,4})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class SchedulesFileError(SeriesError):
    """The schedules file cannot be used, or does not have the named schedule."""


def _interval(value: object) -> timedelta:
    parts = _INTERVAL.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError("an interval is a number and s, m, h or d, like 5m")
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def _midnight(value: object) -> object:
    is_day = isinstance(value, date) and not isinstance(value, datetime)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if is_day else value  # type: ignore[attr-defined]


class _Scheduled(BaseModel):
    """The members of every schedule. `interval`: from the start of a run to that of the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    interval: Annotated[timedelta, BeforeValidator(_interval)]


class CheckSchedule(_Scheduled):
    """A quality check of every market whose bars of the frame are stored."""

    check: Literal["candles"]
    frame: str

    @model_validator(mode="after")
    def _has_bars(self) -> Self:
        if self.frame not in (frames := series_named("bars").frames):
            raise ValueError(f"frame is one of {', '.join(frames)}")
        return self

    @property
    def seconds(self) -> int:
        """Length of a bar."""
        return series_named("bars").frames[self.frame]


class SeriesSchedule(_Scheduled):
    """A series that is brought up to date.

    `instruments`: the exchanges' own symbols by exchange code; {} if the series is of no market. `start` (in the file:
    `from`): the UTC day at which a market without stored rows begins. `source` and `rest_endpoint` replace the
    provider's own addresses.
    """

    series: str
    provider: str = ""
    instruments: dict[str, tuple[str, ...]] = {}
    frame: str = ""
    start: Annotated[datetime, BeforeValidator(_midnight)] = Field(alias="from")
    source: str = DEFAULT_SOURCE
    rest_endpoint: str | None = None

    @model_validator(mode="after")
    def _can_be_asked_for(self) -> Self:
        known = {series.name: series for series in load_series()}
        if self.series not in known:
            raise ValueError(f"no series {self.series!r}; one of {', '.join(known)}")
        series = known[self.series]
        if self.provider and self.provider not in series.providers:
            raise ValueError(f"{self.provider!r} has no {self.series}; one of {', '.join(series.providers)}")
        if self.frame not in (series.frames or {"": 0}):
            raise ValueError(f"frame is one of {', '.join(series.frames)}" if series.frames else "it has no frame")
        has_market = "symbol" in series.key
        if has_market != any(self.instruments.values()) or not all(self.instruments.values()):
            raise ValueError("name the instruments of each exchange" if has_market else "it has no instruments")
        if self.provider in series.in_sessions and {*self.instruments} != {self.provider}:
            raise ValueError(f"{self.provider} has instruments of {self.provider} only")
        if self.start.tzinfo is None:
            raise ValueError("from is a UTC day, like 2024-01-01")
        return self

    @property
    def declared(self) -> Series:
        """The declaration of the series."""
        return series_named(self.series)

    @property
    def provider_name(self) -> str:
        """The name of the provider."""
        return self.provider or self.declared.providers[0]


Schedule = SeriesSchedule | CheckSchedule


def load_schedules(path: Path, candles: Collection[str]) -> tuple[Schedule, ...]:
    """The schedules of a file, by name. `candles`: the frames that have candles to check.

    Raises:
        SchedulesFileError: the file is missing, not YAML, or breaks the format; the message names each faulty entry.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SchedulesFileError(
            f"{path}: {error.strerror}: set MEDALLION_SCHEDULES_FILE, or --file, to a readable schedules file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SchedulesFileError(f"{path}: not a valid YAML file: {error}") from error
    if not isinstance(content, dict) or set(content) != {"schedules"} or not isinstance(content["schedules"], dict):
        raise SchedulesFileError(f"{path}: it must have `schedules:` with a name for each, or {{}}")
    faults: list[str] = []
    schedules: list[Schedule] = []
    for name, entry in content["schedules"].items():
        members = _members(entry)
        kind = CheckSchedule if "check" in members else SeriesSchedule
        try:
            schedule = kind.model_validate({**members, "name": name})
        except ValidationError as error:
            faults += [
                f"{'.'.join(map(str, (name, *fault['loc'])))}: {fault['msg'].removeprefix('Value error, ')}"
                for fault in error.errors()
            ]
            continue
        if isinstance(schedule, CheckSchedule) and schedule.frame not in candles:
            faults.append(f"{name}: there are no candles of {schedule.frame}; frame is one of {', '.join(candles)}")
        schedules.append(schedule)
    if faults:
        raise SchedulesFileError(f"{path}: {'; '.join(faults)}")
    return tuple(sorted(schedules, key=lambda schedule: schedule.name))


def schedule_named(schedules: tuple[Schedule, ...], name: str) -> Schedule:
    """The schedule of that name.

    Raises:
        SchedulesFileError: there is none.
    """
    for schedule in schedules:
        if schedule.name == name:
            return schedule
    raise SchedulesFileError(f"No schedule {name!r}: `medallion schedule list` shows those of the file")


def _members(entry: object) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {}
