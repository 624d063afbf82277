"""Log lines that say the same again and again: one a minute, with how many it stands for."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

#: So long a line is not repeated.
EVERY_S = 60.0
_MOST = 1_000
_NUMBERS = re.compile(r"\d+")


class Repeats(logging.Filter):
    """Lets a text through once in `every_s`; texts that differ in their numbers only (ports, counts, times) are one.

    As a filter of a logger: `logging.getLogger(…).addFilter(Repeats())`. Safe to use from several threads.
    """

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._lock = threading.Lock()
        #: By text: when it was said last, and how often it was not said since.
        self._said: dict[str, tuple[float, int]] = {}

    def count(self, text: str) -> int:
        """How many lines of this text a line written now stands for; 0: write none now."""
        text = _NUMBERS.sub("#", text)
        with self._lock:
            now_s = self._clock()
            said_s, left_out = self._said.get(text, (float("-inf"), 0))
            if now_s - said_s < self._every_s:
                self._said[text] = said_s, left_out + 1
                return 0
            if len(self._said) >= _MOST:
                self._said.clear()
            self._said[text] = now_s, 0
            return left_out + 1

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; one that stands for several says so."""
        text = record.getMessage()
        count = self.count(text)
        if count > 1:
            record.msg, record.args = "%s (%d times)", (text, count)
        return count > 0
