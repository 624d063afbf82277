"""The engine with its Kafka stand-in, in a process that a test can kill."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.embedded.clickhouse.endpoint import Endpoint
from deploy.embedded.clickhouse.engine import config
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka import KafkaTables
from deploy.embedded.clickhouse.sql.policy import Role
from deploy.embedded.clickhouse.sql.statements import parse


def _serve(pipe: Connection, folder: Path, options: Mapping[str, Any]) -> None:
    endpoint = Endpoint()
    folder.mkdir(exist_ok=True)
    settings = config.write(folder / "config.xml", config.Limits(), sinks=endpoint.address)
    engine = Engine.open(folder / "engine", config=settings)
    session = engine.session(role=Role.OPERATOR)
    tables = KafkaTables(engine, endpoint, **options)
    tables.start()
    pipe.send("ready")
    while (request := pipe.recv()) is not None:
        sql, form = request
        try:
            if sql == "status":
                pipe.send((True, json.dumps(tables.status())))
            elif tables.handle(sql, "default", session.execute):
                pipe.send((True, b""))
            else:
                answer = session.query(sql, form)
                tables.after(parse(sql).words, "")
                pipe.send((True, answer))
        except EngineError as error:
            pipe.send((False, error.text))
    tables.stop()
    session.close()
    engine.close()


class Node:
    """One node on a folder; `kill` is SIGKILL, leaving the context stops it in order."""

    def __init__(self, folder: Path, **options: Any) -> None:
        context = get_context("spawn")
        self._pipe, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(remote, folder, options), daemon=True)
        self._process.start()
        remote.close()
        assert self._pipe.recv() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.is_alive():
            self._pipe.send(None)
            self._process.join(60)
            assert self._process.exitcode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def query(self, sql: str, form: str = "TSV") -> bytes:
        self._pipe.send((sql, form))
        succeeded, answer = self._pipe.recv()
        if not succeeded:
            raise EngineError(0, answer)
        return bytes(answer)

    def rows(self, sql: str) -> list[Any]:
        return [json.loads(line) for line in self.query(sql, "JSONCompactEachRow").splitlines()]

    def status(self) -> dict[str, Any]:
        self._pipe.send(("status", ""))
        answer: dict[str, Any] = json.loads(self._pipe.recv()[1])
        return answer

    def wait_for(self, sql: str, expected: list[Any], seconds: float = 30) -> None:
        """Until the query gives these rows."""
        wait_until(lambda: self.rows(sql) == expected, seconds, lambda: f"{self.rows(sql)} {self.status()}")


def wait_until(condition: Callable[[], bool], seconds: float = 30, describe: Callable[[], object] = lambda: "") -> None:
    """Poll a condition; fail with a description when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {describe()}"
        time.sleep(0.05)
