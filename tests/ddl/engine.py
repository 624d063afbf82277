"""A real ClickHouse engine for one test module: chDB in a process of its own, spoken to over a pipe."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

_CONFIGURATION = Path(__file__).with_name("engine.xml")
_KAFKA_TABLE = re.compile(r"^(CREATE TABLE .*?)\)\s*ENGINE = Kafka\b.*", re.DOTALL)
# The virtual columns of a Kafka-engine table, with the types of 26.x.
_VIRTUAL = """,
    _topic LowCardinality(String), _partition UInt64, _offset UInt64, _timestamp Nullable(DateTime),
    _timestamp_ms Nullable(DateTime64(3)), _key String)
ENGINE = Null"""


class EngineError(Exception):
    """What the engine answered instead of a result."""


def _serve(pipe: Connection, folder: str) -> None:
    from chdb import session

    engine = session.Session(f"{folder}?config-file={_CONFIGURATION}")
    while (request := pipe.recv()) is not None:
        try:
            pipe.send((True, engine.query(*request).bytes()))
        except RuntimeError as error:
            pipe.send((False, str(error)))
    engine.close()


class Engine:
    """`execute` as `clickhouse_driver.Client` has it, plus Arrow in and out.

    A statement with ENGINE = Kafka makes its stand-in: sources Null, sinks (those with `_key`) MergeTree.
    `budget`: so many statements that change something are let through, the next one raises. `sent`: all that were.
    """

    def __init__(self, folder: Path) -> None:
        context = get_context("spawn")
        self._pipe, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(remote, str(folder / "store")), daemon=True)
        self._process.start()
        self.budget: int | None = None
        self.sent: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.send(None)
        self._process.join(30)
        self._process.kill()

    def execute(self, query: str) -> Sequence[Sequence[Any]]:
        if self.budget is not None and not query.lstrip().startswith("SELECT"):
            if self.budget == 0:
                raise EngineError(f"refused by the test: {query[:80]}")
            self.budget -= 1
        self.sent.append(query)
        kafka = _KAFKA_TABLE.match(query)
        if kafka:
            is_sink = "_key" in kafka[1]
            query = kafka[1] + (") ENGINE = MergeTree ORDER BY tuple()" if is_sink else _VIRTUAL)
        return [json.loads(line) for line in self.query(query, "JSONCompactEachRow").splitlines()]

    def frame(self, query: str) -> pl.DataFrame:
        """The result, strings as bytes and decimals as text where polars has no type for them."""
        data = self.query(query + " SETTINGS output_format_parquet_string_as_string = 0", "Parquet")
        return pl.read_parquet(data) if data else pl.DataFrame()

    def insert(self, table: str, frame: pl.DataFrame, settings: str = "") -> None:
        """Insert columns by name, in one block where the settings allow."""
        with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
            frame.write_ipc(file.name, compat_level=pl.CompatLevel.oldest())
            columns = ", ".join(frame.columns)
            self.query(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM file('{file.name}', 'Arrow')"
                f" SETTINGS max_partitions_per_insert_block = 0, max_threads = 1{settings}",
                "CSV",
            )

    def query(self, query: str, form: str) -> bytes:
        self._pipe.send((query, form))
        succeeded, answer = self._pipe.recv()
        if not succeeded:
            raise EngineError(answer)
        return bytes(answer)
