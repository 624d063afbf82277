"""When a recorded frame is due, by the exchange's timestamps."""

from __future__ import annotations

import re

from config.errors import MedallionError

# A longer pause in the recording (in its own time) is cut to this length.
LONGEST_PAUSE_S = 60.0
_SPEED = re.compile(r"[0-9]+(\.[0-9]+)?")


class SpeedError(MedallionError, ValueError):
    """The text is no replay speed."""


def parse_speed(text: str) -> float | None:
    """`max` → None (as fast as possible), `N` → N times as fast as recorded.

    Raises:
        SpeedError: the text is neither.
    """
    if text == "max":
        return None
    if not _SPEED.fullmatch(text) or float(text) <= 0:
        raise SpeedError(f"speed {text!r}: give a number above 0 (1 is as recorded, 10 ten times as fast) or max")
    return float(text)


class Schedule:
    """Maps the recording's time to the clock of the caller, `speed` times as fast."""

    def __init__(self, speed: float, start_s: float) -> None:
        """The first event is due at `start_s` of the caller's monotonic clock."""
        self._speed = speed
        self._due_s = start_s
        self._last_us: int | None = None

    def due_s(self, event_us: int | None) -> float:
        """When a frame with this event time is due, on the caller's clock. A frame without a time is due at once."""
        if event_us is not None:
            if self._last_us is not None:
                pause_s = min(max(event_us - self._last_us, 0) / 1e6, LONGEST_PAUSE_S)
                self._due_s += pause_s / self._speed
            self._last_us = max(event_us, self._last_us or event_us)
        return self._due_s
