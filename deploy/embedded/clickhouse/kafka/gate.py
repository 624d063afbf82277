"""Lets blocks flow side by side, and holds them while a statement changes the tables they flow through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 1.0


class Gate:
    """Many may pass at once, or one may close it; who closes waits for those inside and keeps others out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Pass; waits while the gate is closed or about to be."""
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
        """Hold the gate closed; one at a time.

        Args:
            hurry: called when those inside take longer than a second; makes them leave soon.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closing == 0)
            self._closing += 1
            is_empty = self._changed.wait_for(lambda: self._inside == 0, _PATIENCE_SECONDS)
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
