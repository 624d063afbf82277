"""Binance's candle intervals, and the time frame of ours from which each is computed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ddl.layers import Timeframe, load_layers

_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The Unix epoch is a Thursday; Binance's weeks begin on Monday.
_FIRST_MONDAY = 4 * _DAY
# 3d counts from the epoch, 1M is the calendar month. `1s` is missing: Gold has no candles of a second.
_SECONDS = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1_800,
    "1h": 3_600,
    "2h": 7_200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
}
MONTH = "1M"


@dataclass(frozen=True)
class Interval:
    """One interval.

    Attributes:
        code: as Binance writes it; case matters (`1m`, `1M`).
        seconds: its length; 0 for calendar months.
        offset: seconds after the epoch at which a window starts; of months, at which a month starts at midnight.
        base: the longest of our time frames of which every window is made.
    """

    code: str
    seconds: int
    offset: int
    base: Timeframe

    def start(self, second: int) -> int:
        """Start of the window with the time `second`; both are seconds since the epoch, UTC."""
        if self.seconds:
            return (second - self.offset) // self.seconds * self.seconds + self.offset
        moment = _EPOCH + timedelta(seconds=second - self.offset)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) + self.offset

    def end(self, start: int) -> int:
        """End (exclusive) of the window that starts at `start`; both are seconds since the epoch, UTC."""
        if self.seconds:
            return start + self.seconds
        month = _EPOCH + timedelta(seconds=start - self.offset)
        following = (month.year + 1, 1) if month.month == 12 else (month.year, month.month + 1)
        return int(datetime(*following, 1, tzinfo=UTC).timestamp()) + self.offset

    def in_zone(self, east: int) -> Interval:
        """The same interval in a time zone. `east`: s by which its clocks are ahead of UTC, whole minutes."""
        return self if east == 0 else _interval(self.code, self.seconds, self.offset - east)


def _interval(code: str, seconds: int, offset: int) -> Interval:
    fitting = [
        frame
        for frame in load_layers().timeframes
        if (seconds or _DAY) % frame.seconds == 0 and offset % frame.seconds == 0
    ]
    return Interval(code, seconds, offset, max(fitting, key=lambda frame: frame.seconds))


# By Binance's code.
INTERVALS: dict[str, Interval] = {
    **{code: _interval(code, seconds, _FIRST_MONDAY if code == "1w" else 0) for code, seconds in _SECONDS.items()},
    MONTH: _interval(MONTH, 0, 0),
}
