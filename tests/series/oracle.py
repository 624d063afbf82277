"""The rules of a declared series once more, in Python and one row at a time: what its tables must do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal

from series.declaration import Column, Series

_EXACT = Context(prec=200)
_NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_LATEST_US = 7_258_118_400_000_000
_GRACE_US = 60_000_000
Value = str | int | Decimal | datetime | None


def validate(series: Series, row: Mapping[str, str], received_us: int) -> tuple[str, str] | dict[str, Value]:
    """The reason and the field of the first rule that the row breaks, or its typed values."""
    values: dict[str, Value] = {}
    for column in series.columns:
        said = row.get(column.name, "")
        if not said:
            if not column.is_optional:
                return "missing", column.name
            values[column.name] = None
            continue
        value = _typed(column, said, received_us)
        if isinstance(value, tuple):
            return value[0], column.name
        values[column.name] = value
    if series.frame:
        micros, length = _micros(row[series.time]), series.frames[row[series.frame]] * 1_000_000
        assert micros is not None
        if micros % length:
            return "not_aligned", series.time
        values["is_closed"] = micros + length <= received_us
    for column in series.columns:
        if (broken := _broken(column, values)) is not None:
            return broken, column.name
    return values


def _typed(column: Column, said: str, received_us: int) -> Value | tuple[str]:
    if column.type == "text":
        return ("unknown_value",) if column.one_of and said not in column.one_of else said
    if column.type == "time":
        return _time(said, received_us)
    if column.type == "integer":
        if not re.fullmatch(r"[0-9]+", said, re.ASCII):
            return ("not_a_number",)
        return int(said) if int(said) < 10**19 else ("too_precise",)
    if not _NUMBER.fullmatch(said):
        return ("not_a_number",)
    value = _EXACT.create_decimal(said)
    fits = abs(value) < 10**20 and _EXACT.quantize(value, Decimal(1).scaleb(-18, _EXACT)) == value
    return value if fits else ("too_precise",)


def _time(said: str, received_us: int) -> Value | tuple[str]:
    micros = _micros(said)
    if micros is None or not 0 < micros < _LATEST_US:
        return ("time_invalid",)
    if micros > received_us + _GRACE_US:
        return ("time_in_future",)
    return datetime.fromtimestamp(micros // 1_000_000, tz=UTC).replace(microsecond=micros % 1_000_000)


def _broken(column: Column, values: Mapping[str, Value]) -> str | None:
    value = values[column.name]
    if value is None:
        return None
    for bound, is_wrong in (
        (column.above, lambda one, other: one <= other),
        (column.from_, lambda one, other: one < other),
        (column.to, lambda one, other: one > other),
    ):
        if bound is not None and is_wrong(value, bound):
            return "out_of_range"
    for names, is_wrong in (
        (column.not_below, lambda one, other: one < other),
        (column.not_above, lambda one, other: one > other),
    ):
        for name in names:
            if values[name] is not None and is_wrong(value, values[name]):
                return "contradicts"
    return None


def _micros(said: str) -> int | None:
    """Numbers only: tests/ddl/layers/test_bronze.py has the normaliser's other forms."""
    if not re.fullmatch(r"[0-9]{1,19}([.][0-9]+)?", said, re.ASCII):
        return None
    whole, _, fraction = said.partition(".")
    number, millionths = int(whole), int(fraction[:6].ljust(6, "0"))
    for below, factor, more in ((10**11, 1_000_000, millionths), (10**14, 1_000, millionths // 1_000), (10**17, 1, 0)):
        if number < below:
            return number * factor + more
    return number // 1_000
