"""What a series is: its columns, key and rules, as a file of `declared/` says. Tables and tests follow from it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

FOLDER = Path(__file__).with_name("declared")
# The column with the time at which a row's answer came, in every table of a series.
ARRIVAL = "received_at"
_NAME = r"^[a-z][a-z_]*$"


class Column(BaseModel):
    """One column, and the rules for its values.

    `above`: exclusive minimum; `from_` (in the file: `from`) and `to`: inclusive bounds. `not_below`, `not_above`:
    columns of the same row that bound the value. `one_of`: the allowed texts; of the frame column, each with its
    length in seconds. An optional column is NULL if the provider does not give it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    type: Literal["text", "time", "decimal", "integer"]
    comment: str
    is_optional: bool = False
    above: int | None = None
    from_: int | None = Field(default=None, alias="from")
    to: int | None = None
    not_below: tuple[str, ...] = ()
    not_above: tuple[str, ...] = ()
    one_of: dict[str, int] = {}

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> Self:
        bounds = (self.above, self.from_, self.to)
        if self.type in {"text", "time"} and (any(bound is not None for bound in bounds) or self.not_below):
            raise ValueError(f"{self.name}: only numbers have bounds")
        if self.one_of and self.type != "text":
            raise ValueError(f"{self.name}: only a text has `one_of`")
        if self.is_optional and self.type in {"text", "time"}:
            raise ValueError(f"{self.name}: only numbers may be optional; leave a text empty instead")
        return self

    @property
    def is_number(self) -> bool:
        """Whether the column holds a decimal or an integer."""
        return self.type in {"decimal", "integer"}


class Series(BaseModel):
    """A series. `key` identifies a row; of rows with one key the newest is current. `time`: the column with the time.

    `frame`: the column with the length of the period that begins at `time`; "": the rows are moments. A period begins
    at a multiple of its length since the Unix epoch.

    `in_sessions`: exchanges whose markets are closed at times. The number of their periods in a day, unless a period is
    a day, and the days without periods are unknown. Medallion reads no trades of them, so the symbols file does not
    have them.

    `row_interval`: seconds from row to row if rows are moments, a divisor of a day; `observed`: the interval that the
    stored rows of the market show; None: it is unknown. Coverage counts by it.

    `providers`: names of providers that have the series (`series.questions.PROVIDERS`), the default first.

    `retention_days`: how long answers (`landing`) and rows (`staging`, `snapshots`) stay in ClickHouse, counted as
    `ddl.layers.Retention` says. They are dropped only when Iceberg has them. A table that is not named keeps its rows
    for ever. So do the current rows: a run continues from them, and coverage, the quality check and the interfaces read
    nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    about: str
    key: tuple[str, ...]
    time: str
    frame: str = ""
    in_sessions: tuple[str, ...] = ()
    row_interval: int | Literal["observed"] | None = None
    providers: tuple[str, ...] = Field(min_length=1)
    columns: tuple[Column, ...]
    retention_days: dict[Literal["landing", "staging", "snapshots"], Annotated[int, Field(gt=0)]] = {}

    @model_validator(mode="after")
    def _names_are_columns(self) -> Self:
        by_name = {column.name: column for column in self.columns}
        named = {*self.key, self.time, *([self.frame] if self.frame else [])}
        for column in self.columns:
            named |= {*column.not_below, *column.not_above}
        if unknown := sorted(named - by_name.keys()):
            raise ValueError(f"{self.name} names {', '.join(unknown)}, which are no columns of it")
        if [column.name for column in self.columns if column.type == "time"] != [self.time]:
            raise ValueError(f"{self.name}: `time` must be its one column of type time")
        if self.frame and not by_name[self.frame].one_of:
            raise ValueError(f"{self.name}: {self.frame} needs `one_of`, the seconds of each frame")
        if self.in_sessions and not (self.frame and "exchange" in self.key):
            raise ValueError(f"{self.name}: `in_sessions` needs a frame, and the exchange in the key")
        if isinstance(self.row_interval, int) and (self.row_interval < 1 or 86_400 % self.row_interval):
            raise ValueError(f"{self.name}: row_interval must be a part of a day, in seconds")
        if self.frame and self.row_interval is not None:
            raise ValueError(f"{self.name}: its frame says how often rows come: leave row_interval out")
        if any(by_name[name].is_optional for name in self.key):
            raise ValueError(f"{self.name}: a column of the key may not be optional")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the columns, in the order of the file."""
        return tuple(column.name for column in self.columns)

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns that are not part of the key."""
        return tuple(column for column in self.columns if column.name not in self.key)

    @property
    def frames(self) -> dict[str, int]:
        """Seconds of each frame; {} where the rows are moments."""
        return next((column.one_of for column in self.columns if column.name == self.frame), {})

    @property
    def has_decimals(self) -> bool:
        """Whether a column is a decimal, so that a view of exact decimals is needed beside that of doubles."""
        return any(column.type == "decimal" for column in self.columns)

    @property
    def views(self) -> tuple[str, ...]:
        """The views of the current rows: amounts as doubles; then, if there are decimals, as exact decimals."""
        return (self.name, f"{self.name}_exact") if self.has_decimals else (self.name,)

    @property
    def landing(self) -> str:
        """The table of the answers, as they came."""
        return f"{self.name}_landing"

    @property
    def staging(self) -> str:
        """The table of the rows that passed every rule."""
        return f"{self.name}_staging"

    @property
    def snapshots(self) -> str:
        """The table of every version of every row."""
        return f"{self.name}_snapshots"


@cache
def load_series() -> tuple[Series, ...]:
    """Every declared series, by name.

    Raises:
        pydantic.ValidationError: a file breaks the schema; the message names the field.
    """
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")))


def series_named(name: str) -> Series:
    """The series of that name.

    Raises:
        KeyError: none is declared.
    """
    return {series.name: series for series in load_series()}[name]


def _read(path: Path) -> Series:
    declared = yaml.safe_load(path.read_text(encoding="utf-8"))
    columns = [{"name": name, **rules} for name, rules in declared["columns"].items()]
    return Series.model_validate({**declared, "name": path.stem, "columns": columns})
