"""Binance's funding rates as rows of the series `funding_rates`, from its monthly files. Pure.

Three columns: time of the settlement in ms, hours from one settlement to the next, rate (data.binance.vision,
`monthly/fundingRate`; the first line names them calc_time, funding_interval_hours, last_funding_rate). The times are
those of Binance's REST interface to the millisecond, so both sources have the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from series.answer import UNREADABLE, Row

_WIDTH = 3
_HEADER = "calc_time"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def of_lines(lines: Sequence[bytes], market: Mapping[str, str], start: datetime, end: datetime) -> list[Row]:
    """The rows of a file's lines in [start, end) (UTC), and the lines without a time. `market`: the other columns.

    Headers and blank lines are left out.
    """
    rows: list[Row] = []
    for line in lines:
        text = line.decode("utf-8-sig", errors="backslashreplace").strip()
        if not text or text.lower().startswith(_HEADER):
            continue
        values = [value.strip() for value in text.split(",")]
        if len(values) != _WIDTH:
            rows.append({UNREADABLE: text})
        elif _is_within(values[0], start, end):
            rows.append({**market, "funding_time": values[0], "rate": values[2]})
    return rows


def _is_within(milliseconds: str, start: datetime, end: datetime) -> bool:
    """Whether a time is in [start, end). True for a text that is no time, so that a rule rejects the row."""
    if not (milliseconds.isascii() and milliseconds.isdecimal() and len(milliseconds) < 16):
        return True
    return start <= _EPOCH + timedelta(milliseconds=int(milliseconds)) < end
