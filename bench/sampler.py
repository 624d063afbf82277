"""Takes samples during a run, in a thread of its own. If the thread fails, the run fails."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Sampler(ABC):
    """Calls `_look` at once, and then every `period_s` seconds, while its `with` block runs."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=type(self).__name__)
        self._looking: Future[None] = Future()

    def __enter__(self) -> Self:
        self._looking = self._pool.submit(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        if error is None:
            self._looking.result()

    def check(self) -> None:
        """Raise the error that ended the thread, if there is one."""
        if self._looking.done():
            self._looking.result()

    @abstractmethod
    def _look(self) -> None: ...

    def _run(self) -> None:
        while True:
            self._look()
            if self._stop.wait(self._period_s):
                return
