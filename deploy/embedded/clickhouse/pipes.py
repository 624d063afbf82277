"""A pipe the engine writes a result into while we read it: constant memory, any output format."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

_PIPE_BYTES = 1 << 20
_KILL_INTERVAL_S = 0.02
# Kept between results: starting a thread takes as long as a small query. More than there can be readers.
_WRITERS = ThreadPoolExecutor(max_workers=1024, thread_name_prefix="engine-result")


class PipeReader:
    """Read what a function writes to `path`."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def path(self) -> str:
        """The file to write to; opening it gives another descriptor of the pipe's write end."""
        return f"/proc/self/fd/{self._write_end}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._read_end, self._write_end):
            if end >= 0:
                os.close(end)

    def run(self, write: Callable[[], object], kill: Callable[[], None]) -> Generator[bytes, None, None]:
        """Call `write` in a thread and yield what arrives.

        Args:
            write: opens `path`, writes, closes it.
            kill: makes `write` return early; called until it does if the reader stops.

        Raises:
            Exception: whatever `write` raised, after the bytes it wrote.
        """
        writer = _WRITERS.submit(self._write, write)
        try:
            while chunk := os.read(self._read_end, _PIPE_BYTES):
                yield chunk
            writer.result()
        finally:
            os.close(self._read_end)
            self._read_end = -1
            while not wait([writer], timeout=0).done:
                kill()
                wait([writer], timeout=_KILL_INTERVAL_S)

    def _write(self, write: Callable[[], object]) -> None:
        try:
            write()
        finally:
            os.close(self._write_end)
            self._write_end = -1
