"""When a recorded frame is due, by the exchange's own time stamps."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from config.errors import MedallionError
from producers.exchanges.model import Parsed, Trades

#: A recording that was paused for longer than this (in its own time) goes on after this long.
LONGEST_PAUSE_S = 60.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_TIME = re.compile(r"[0-9]{1,20}")
_SPEED = re.compile(r"[0-9]+(\.[0-9]+)?")


class SpeedError(MedallionError, ValueError):
    """The text names no replay speed."""


def parse_speed(text: str) -> float | None:
    """`max` → None (as fast as possible), `N` → N times as fast as recorded.

    Raises:
        SpeedError: neither.
    """
    if text == "max":
        return None
    if not _SPEED.fullmatch(text) or float(text) <= 0:
        raise SpeedError(f"speed {text!r}: give a number above 0 (1 is as recorded, 10 ten times as fast) or max")
    return float(text)


def event_time_us(text: str) -> int | None:
    """An exchange's time stamp in µs since the epoch (UTC); None where the text is none.

    Unix s (also with a fraction), ms, µs or ns by magnitude, or ISO 8601.
    For pacing, lag and healing only: Bronze has its own normaliser.
    """
    if _UNIX_TIME.fullmatch(text):
        value = int(text)
        if value < 10**11:
            return value * 1_000_000
        if value < 10**14:
            return value * 1_000
        return value if value < 10**17 else value // 1_000
    seconds, point, fraction = text.partition(".")
    if point and _UNIX_TIME.fullmatch(seconds) and _UNIX_TIME.fullmatch(fraction) and len(seconds) < 12:
        return int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        delta = moment - _EPOCH
    except (ValueError, OverflowError):
        return None
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def frame_time_us(parsed: Parsed) -> int | None:
    """The latest trade time in the frame, µs; None for a frame without one."""
    if not isinstance(parsed, Trades):
        return None
    return max((time for trade in parsed.records if (time := event_time_us(trade.timestamp)) is not None), default=None)


class Schedule:
    """Maps the recording's time to the clock of the caller, `speed` times as fast."""

    def __init__(self, speed: float, start_s: float) -> None:
        """Starts at `start_s` of the caller's monotonic clock with the first event, whenever that was."""
        self._speed = speed
        self._due_s = start_s
        self._last_us: int | None = None

    def due_s(self, event_us: int | None) -> float:
        """When, on the caller's clock, a frame of this event time is due; a frame without goes at once."""
        if event_us is not None:
            if self._last_us is not None:
                pause_s = min(max(event_us - self._last_us, 0) / 1e6, LONGEST_PAUSE_S)
                self._due_s += pause_s / self._speed
            self._last_us = max(event_us, self._last_us or event_us)
        return self._due_s
