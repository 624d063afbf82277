"""Pipes between the engine and the node, which carry results and inserts of any format in constant memory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self, TypeVar

_PIPE_BYTES = 1 << 20
_KILL_INTERVAL_S = 0.02
# Threads that call the engine. They are kept, because starting one takes as long as a small query. There may be one for
# each client of the native protocol.
_ENGINE_THREADS = ThreadPoolExecutor(max_workers=1024, thread_name_prefix="in-engine")

T = TypeVar("T")


class PipeReader:
    """Reads what a function writes to `path`."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def path(self) -> str:
        """The file to write to. Opening it gives another descriptor of the pipe's write end."""
        return f"/proc/self/fd/{self._write_end}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._read_end, self._write_end):
            if end >= 0:
                os.close(end)

    def run(self, write: Callable[[], object], kill: Callable[[], bool]) -> Generator[bytes, None, None]:
        """Call `write` in a thread and yield the bytes that it writes.

        Args:
            write: opens `path`, writes, closes it.
            kill: makes `write` return early. If the reader stops, `kill` is called until `write` has returned.

        Raises:
            Exception: whatever `write` raised, after the bytes it wrote.
        """
        writer = _ENGINE_THREADS.submit(self._write, write)
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


class PipeWriter:
    """Writes what a function reads from `path`."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def path(self) -> str:
        """The file to read. Opening it gives another descriptor of the pipe's read end."""
        return f"/proc/self/fd/{self._read_end}"

    def run(self, read: Callable[[], T], chunks: Iterable[bytes], kill: Callable[[], bool]) -> T:
        """Call `read` in a thread and write the chunks meanwhile. Returns what `read` returns.

        Args:
            read: opens `path` and reads it to its end, or fails.
            chunks: the bytes to write. If it raises, `read` is killed before it sees the end of the file.
            kill: makes `read` fail. Returns True once `read` is certain to fail.

        Raises:
            Exception: whatever `read` or `chunks` raised.
        """
        reader = _ENGINE_THREADS.submit(self._read, read)
        try:
            self._feed(chunks)
        except BaseException:
            # The end of the file commits an insert, so the kill has to come first.
            while not wait([reader], timeout=_KILL_INTERVAL_S).done:
                if kill():
                    self._end()
            raise
        finally:
            self._end()
        return reader.result()

    def _feed(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                try:
                    left = left[os.write(self._write_end, left) :]
                except BrokenPipeError:  # the reader failed, and its result says why
                    return

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        finally:
            os.close(self._read_end)

    def _end(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
