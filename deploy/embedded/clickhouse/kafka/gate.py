"""Lets blocks pass in parallel, and holds them while a statement changes the tables that they pass through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_HURRY_AFTER_SECONDS = 1.0


class Gate:
    """A lock that many threads pass at once, or one thread closes. Closing waits for those inside."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Pass the gate. Waits while it is closed or closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self, hurry: Callable[[], None]) -> Iterator[None]:
        """Keep the gate closed. Only one thread can at a time.

        Args:
            hurry: called if those inside take longer than a second. It makes them leave soon.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closing == 0)
            self._closing += 1
            is_empty = self._changed.wait_for(lambda: self._inside == 0, _HURRY_AFTER_SECONDS)
        if not is_empty:
            hurry()
        with self._changed:
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closing -= 1
                self._changed.notify_all()
