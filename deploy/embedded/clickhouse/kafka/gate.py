"""Lets blocks flow side by side, and holds them while a statement changes the tables they flow through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
    def closed(self) -> Iterator[None]:
        """Hold the gate closed; one at a time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing == 0)
            self._closing += 1
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closing -= 1
                self._changed.notify_all()
