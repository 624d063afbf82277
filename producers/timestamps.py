"""Times in µs since the epoch (UTC): an exchange's time stamps, and the local clock."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_TIME = re.compile(r"[0-9]{1,20}")


def event_time_us(text: str) -> int | None:
    """An exchange's time stamp in µs since the epoch (UTC); None if the text is no time stamp.

    The text is Unix time in s (also with a fraction), ms, µs or ns, told apart by magnitude, or ISO 8601. Used for
    pacing, lag and healing only; Bronze normalises times itself.
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


def now_us() -> int:
    """The local clock, µs since the epoch."""
    return time.time_ns() // 1_000
