"""Repeated log lines: one a minute is written, with the number of lines that it stands for."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

# A line is written at most once in this time.
EVERY_S = 60.0
_MOST = 1_000
_NUMBERS = re.compile(r"\d+")


class Repeats(logging.Filter):
    """Lets a text pass once in `every_s`. Texts that differ only in numbers (ports, counts, times) count as one.

    To filter a logger: `logging.getLogger(…).addFilter(Repeats())`. Safe to use from several threads.
    """

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._lock = threading.Lock()
        # By text: when it was last written, and how often it has been left out since.
        self._written: dict[str, tuple[float, int]] = {}

    def count(self, text: str) -> int:
        """How many lines with this text a line written now stands for; 0 if none is to be written."""
        text = _NUMBERS.sub("#", text)
        with self._lock:
            now_s = self._clock()
            written_s, left_out = self._written.get(text, (float("-inf"), 0))
            if now_s - written_s < self._every_s:
                self._written[text] = written_s, left_out + 1
                return 0
            if len(self._written) >= _MOST:
                self._written.clear()
            self._written[text] = now_s, 0
            return left_out + 1

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written. One that stands for several has their number."""
        text = record.getMessage()
        count = self.count(text)
        if count > 1:
            record.msg, record.args = "%s (%d times)", (text, count)
        return count > 0
