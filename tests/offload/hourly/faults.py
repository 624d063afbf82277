"""Faults of the offload's surroundings, each injected for one attempt; `fired` says whether it came to that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import requests
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import PyArrowFile
from pyiceberg.table import Table

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.errors import HotStoreError


class Countdown:
    """Goes off at the n-th time it is asked, once."""

    def __init__(self, skip: int) -> None:
        self._left = skip
        self.fired = False

    def is_now(self) -> bool:
        self._left -= 1
        now = self._left < 0 and not self.fired
        self.fired = self.fired or now
        return now


class FailingClickHouse(ClickHouseHttp):
    """Refuses a statement."""

    def __init__(self, settings: Settings, when: Countdown) -> None:
        super().__init__(settings)
        self._when = when

    def _perhaps(self) -> None:
        if self._when.is_now():
            raise HotStoreError("Code: 241. DB::Exception: Memory limit exceeded (injected)")

    def rows(self, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
        self._perhaps()
        return super().rows(sql, parameters)

    def command(self, sql: str, parameters: Parameters) -> None:
        self._perhaps()
        super().command(sql, parameters)


class CuttingClickHouse(ClickHouseHttp):
    """Ends a Parquet stream in its middle."""

    def __init__(self, settings: Settings, when: Countdown) -> None:
        super().__init__(settings)
        self._when = when

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        with super().parquet(sql, parameters) as chunks:
            if not self._when.is_now():
                yield chunks
                return
            data = b"".join(chunks)
            yield iter([data[: len(data) // 2]])


class DyingClickHouse(ClickHouseHttp):
    """The server is killed: before a statement, or within the first Parquet stream after that."""

    def __init__(self, settings: Settings, when: Countdown, kill: Callable[[], None], *, in_stream: bool) -> None:
        super().__init__(settings)
        self._when, self._kill, self._in_stream = when, kill, in_stream
        self.killed = False

    def _perhaps(self) -> None:
        if not self._in_stream and not self.killed and self._when.is_now():
            self._die()

    def _die(self) -> None:
        self.killed = True
        self._kill()

    def rows(self, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
        self._perhaps()
        return super().rows(sql, parameters)

    def command(self, sql: str, parameters: Parameters) -> None:
        self._perhaps()
        super().command(sql, parameters)

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        with super().parquet(sql, parameters) as chunks:

            def dying() -> Iterator[bytes]:
                if self._in_stream and not self.killed and self._when.is_now():
                    self._die()
                yield from chunks

            yield dying()


@contextmanager
def failing_commit(when: Countdown, error: Exception, *, after: bool) -> Iterator[None]:
    """The catalog fails before it takes a commit, or its answer is lost."""
    original = Table._do_commit

    def patched(self: Table, *args: Any, **kwargs: Any) -> None:
        now = when.is_now()
        if now and not after:
            raise error
        original(self, *args, **kwargs)
        if now:
            raise error

    with patch.object(Table, "_do_commit", patched):
        yield


CATALOG_ERRORS: Mapping[str, tuple[Exception, bool]] = {
    "the catalog says conflict": (CommitFailedException("injected"), False),
    "the catalog is away": (requests.ConnectionError("injected"), False),
    "the catalog's answer is lost": (requests.ConnectionError("injected"), True),
}


class _Failing:
    """A stream that fails once some bytes are written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._writes = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data[: len(data) // 2])
        raise OSError(5, "Input/output error (injected)")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@contextmanager
def failing_disk(when: Countdown) -> Iterator[None]:
    """Writing a file of the warehouse, of data or metadata, fails half-way."""
    original = PyArrowFile.create

    def patched(self: PyArrowFile, overwrite: bool = False) -> Any:
        stream = original(self, overwrite)
        return _Failing(stream) if when.is_now() else stream

    with patch.object(PyArrowFile, "create", patched):
        yield
